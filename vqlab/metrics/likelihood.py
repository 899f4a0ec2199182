"""Likelihood of codes under a prior."""

import math

import jax
import jax.numpy as jnp

from vqlab.metrics.sums import Total, broadcast_mask, total
from vqlab.nn.dtypes import at_least_float32


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
  log_p = jax.nn.log_softmax(logits.astype(at_least_float32(logits.dtype)))
  nats = -jnp.take_along_axis(log_p, codes[..., None], axis=-1)[..., 0]
  return total(nats, mask=counts)


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
