"""Reconstruction error of images."""

import jax
import jax.numpy as jnp

from vqlab.metrics.sums import Total, broadcast_mask, mean, total
from vqlab.nn.dtypes import at_least_float32


def squared_error(x: jax.Array, y: jax.Array, *, mask: jax.Array | None = None) -> Total:
  """Mean squared error an example, summed over examples; `mean` of it is the MSE.

  Args:
    x, y: [B, ...], of one shape.
    mask: bool[B].

  Raises:
    ValueError: the shapes differ.
  """
  if x.shape != y.shape:
    raise ValueError(f"squared_error: shapes must agree; found {x.shape} and {y.shape}")
  dtype = at_least_float32(x.dtype, y.dtype)
  if mask is not None:  # before the difference: the gradient of a masked NaN must be 0 as well
    counts = broadcast_mask("squared_error", mask, x.shape)
    x, y = jnp.where(counts, x, 0), jnp.where(counts, y, 0)
  error = jnp.square(x.astype(dtype) - y.astype(dtype))
  return total(jnp.mean(error, axis=tuple(range(1, x.ndim))), mask=mask)


def psnr(error: Total, *, peak: float = 1.0) -> jax.Array:
  """Peak signal-to-noise ratio in dB, 10 log10(peak^2 / MSE), of the MSE over all examples.

  peak: the width of the images' range. Infinite where the error is 0.
  """
  return 10 * jnp.log10(peak**2 / mean(error))
