"""Loops under `shard_map`, whose carry has to vary over mesh axes from the start."""

from typing import Any

import jax
import jax.numpy as jnp


def vary_like(inputs: Any, carry: Any) -> Any:
  """The carry, varying over all mesh axes that the inputs vary over, and otherwise as it was.

  Nothing is added to it, but that depends on the inputs. Parameters that have to be each device's
  own need it as well: `shard_map` sums the gradients of those that are the same on all of them.

  Args:
    inputs, carry: pytrees of arrays; of the inputs keys, too, but none that is empty.
  """
  nothing = jnp.int32(0)
  for x in jax.tree.leaves(inputs):
    x = jnp.asarray(x)
    data = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    nothing += jnp.where(data.reshape(-1)[0].astype(bool), jnp.int32(0), jnp.int32(0))
  return jax.tree.map(lambda x: x + nothing.astype(x.dtype), carry)
