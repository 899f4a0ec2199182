"""What stays exact while networks compute in fewer bits."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def at_least_float32(*dtypes: DTypeLike) -> jnp.dtype:
  """float64 if any of the dtypes is, else float32: for assignments, statistics and losses.

  NumPy's float64 becomes what it will be in JAX: float32 unless double precision is enabled.
  """
  double = jnp.dtype(jnp.float64) in map(jnp.dtype, dtypes)
  return jax.dtypes.canonicalize_dtype(jnp.float64 if double else jnp.float32)
