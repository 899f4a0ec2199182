"""What stays exact while networks compute in fewer bits."""

import jax.numpy as jnp
from jax.typing import DTypeLike


def at_least_float32(*dtypes: DTypeLike) -> jnp.dtype:
  """float64 if any of the dtypes is, else float32: for assignments, statistics and losses."""
  return jnp.dtype(jnp.float64 if jnp.dtype(jnp.float64) in map(jnp.dtype, dtypes) else jnp.float32)
