"""Loops under `shard_map`, whose carry has to vary over mesh axes from the start."""

from typing import Any

import jax
import jax.numpy as jnp


def vary_like(inputs: Any, carry: Any) -> Any:
  """The carry, varying over all mesh axes that the inputs vary over, and otherwise as it was.

  Nothing is added to it, but that depends on the inputs. Parameters that have to be each device's
  own need it as well: `shard_map` sums the gradients of those that are the same on all of them.

  Args:
    inputs, carry: pytrees of arrays, of the inputs none empty; the carry's keys stay as they are.
  """
  is_key = lambda x: jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)
  nothing = jnp.int32(0)
  for x in jax.tree.leaves(inputs):
    data = jax.random.key_data(x) if is_key(x) else jnp.asarray(x)
    nothing += jnp.where(data.reshape(-1)[0].astype(bool), jnp.int32(0), jnp.int32(0))
  vary = lambda x: x if is_key(x) else x + nothing.astype(jnp.result_type(x))
  return jax.tree.map(vary, carry)
