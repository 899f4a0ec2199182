"""Likelihood of codes under a prior."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vqlab.metrics.sums import Total, broadcast_mask, total
from vqlab.nn.dtypes import at_least_float32


def log_likelihood(logits: jax.Array, codes: jax.Array) -> jax.Array:
  """log p(code) in nats: [..., K], int[...] -> [...], float32 at least; NaN of what is no code."""
  codes = codes.astype(jnp.int32)[..., None]
  log_p = jax.nn.log_softmax(logits.astype(at_least_float32(logits.dtype)))
  found = jnp.take_along_axis(log_p, codes, axis=-1, mode="fill")
  return jnp.where(codes < 0, jnp.nan, found)[..., 0]


def negative_log_likelihood(
  logits: jax.Array, codes: jax.Array, *, mask: jax.Array | None = None
) -> Total:
  """-log p(code) in nats over all codes; `mean` of it is nats a code.

  Args:
    logits: [B, ..., K], unnormalized.
    codes: i32[B, ...], in [0, K); -1 counts for nothing.
    mask: bool over leading axes of codes.

  Raises:
    ValueError: the shapes do not agree.
  """
  if logits.shape[:-1] != codes.shape or not jnp.issubdtype(codes.dtype, jnp.integer):
    raise ValueError(
      f"negative_log_likelihood: codes must be int{list(logits.shape[:-1])} for logits "
      f"{list(logits.shape)}; found {codes.dtype}{list(codes.shape)}"
    )
  counts = codes >= 0
  if mask is not None:
    counts &= broadcast_mask("negative_log_likelihood", mask, codes.shape)
  # Before the softmax: the gradient of a masked NaN must be 0 as well.
  logits, codes = jnp.where(counts[..., None], logits, 0), jnp.where(counts, codes, 0)
  return total(-log_likelihood(logits, codes), mask=counts)


def bits_per_dim(
  nats_per_code: jax.Array, *, codes_per_example: int, dims_per_example: int
) -> jax.Array:
  """What the codes of an example cost, in bits a dimension of the example itself.

  The rate of the codes alone: a likelihood of the example given its codes is not in it.

  Args:
    nats_per_code: mean of `negative_log_likelihood`.
    codes_per_example: h * w * G.
    dims_per_example: H * W * C.
  """
  return nats_per_code * codes_per_example / (math.log(2) * dims_per_example)


def total_bits_per_dim(
  nats_by_level: Sequence[jax.Array], codes_by_level: Sequence[int], dims: int
) -> jax.Array:
  """What all levels of codes of an example cost together, in bits a dimension of the example.

  A hierarchy's priors multiply, p(top) p(bottom | top), so their costs add up. The rate of the
  codes alone, as `bits_per_dim`.

  Args:
    nats_by_level: of each level, mean of `negative_log_likelihood`, given the levels above it.
    codes_by_level: of each level, codes an example: h * w * G.
    dims: H * W * C.

  Raises:
    ValueError: the two sequences differ in length, or are empty.
  """
  if len(nats_by_level) != len(codes_by_level) or not codes_by_level:
    raise ValueError(
      f"total_bits_per_dim: one figure and one number of codes a level; "
      f"found {len(nats_by_level)} and {len(codes_by_level)}"
    )
  return sum(
    bits_per_dim(nats, codes_per_example=codes, dims_per_example=dims)
    for nats, codes in zip(nats_by_level, codes_by_level, strict=True)
  )
