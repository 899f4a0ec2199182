"""The two losses of VQ-VAE (arXiv 1711.00937, equation 3), each with its stop_gradient.

Both are |z - code|^2 / D, the mean over D as Sonnet and Haiku take it (the paper's sum over D,
divided by D), in float32 at least.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.nn.dtypes import at_least_float32
from vqlab.quantize import checks

Reduction = Literal["mean", "sum", "none"]


def codebook_loss(
  z: jax.Array,
  codes: jax.Array,
  *,
  mask: jax.Array | None = None,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Pulls the codes to the vectors assigned to them; its gradient reaches only the codebook.

  Args:
    z: [..., D], the encoder's vectors.
    codes: [..., D], `Quantized.codes`, differentiable in the codebook.
    mask: bool[...]; vectors where it is False count for nothing, NaN included.
    reduction: "mean" over the vectors that count (0 if none does), their "sum", or "none": [...].

  Raises:
    ValueError: shapes do not agree, or the reduction is none of the three.
  """
  return _squared_distance("codebook_loss", lax.stop_gradient(z), codes, mask, reduction)


def commitment_loss(
  z: jax.Array,
  codes: jax.Array,
  *,
  mask: jax.Array | None = None,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Keeps the encoder near its codes; its gradient reaches only the encoder.

  The paper weighs it by beta = 0.25. Args, raises: see `codebook_loss`.
  """
  return _squared_distance("commitment_loss", z, lax.stop_gradient(codes), mask, reduction)


def _squared_distance(
  name: str, z: jax.Array, codes: jax.Array, mask: jax.Array | None, reduction: Reduction
) -> jax.Array:
  z, codes = checks.same_shape(name, z, codes)
  checks.mask(name, mask, z.shape[:-1])
  dtype = at_least_float32(z.dtype, codes.dtype)
  z, codes = z.astype(dtype), codes.astype(dtype)
  if mask is not None:  # before the difference: the gradient of a masked NaN must be 0 as well
    z, codes = (jnp.where(mask[..., None], x, 0) for x in (z, codes))
  distance = jnp.mean(jnp.square(z - codes), axis=-1)
  if reduction == "none":
    return distance
  if reduction == "sum":
    return jnp.sum(distance)
  if reduction == "mean":
    count = distance.size if mask is None else jnp.sum(mask)
    return jnp.sum(distance) / jnp.maximum(count, 1).astype(dtype)
  raise ValueError(f"{name}: reduction is {reduction!r}; it must be 'mean', 'sum' or 'none'")
