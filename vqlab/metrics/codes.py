"""How much of a codebook is used, from how often each code was."""

import jax
import jax.numpy as jnp

from vqlab.metrics.sums import broadcast_mask
from vqlab.nn.dtypes import at_least_float32


def code_counts(indices: jax.Array, *, num_codes: int, mask: jax.Array | None = None) -> jax.Array:
  """How often each code occurs, f32[K]; counts of several batches add up.

  Args:
    indices: int[B, ...]; what is not in [0, K) counts for nothing.
    num_codes: K.
    mask: bool over leading axes of indices.

  Raises:
    ValueError: indices are no integers, or the mask is not bool or its shape no prefix of theirs.
  """
  indices = jnp.asarray(indices)
  if not jnp.issubdtype(indices.dtype, jnp.integer):
    raise ValueError(f"code_counts: indices are {indices.dtype}; they must be integers")
  indices = indices.astype(jnp.int32)
  valid = indices >= 0
  if mask is not None:
    valid &= broadcast_mask("code_counts", mask, indices.shape)
  where = jnp.where(valid, indices, num_codes).reshape(-1)
  return jnp.zeros(num_codes, jnp.float32).at[where].add(1.0, mode="drop")


def unigram_entropy(counts: jax.Array) -> jax.Array:
  """Entropy of the codes' frequencies in nats a code: from 0 (one code only) to log K.

  What a code costs that is coded by its frequency alone; a prior is worth what it saves of this.

  Args:
    counts: [..., K], how often each code occurs; only their ratios matter. 0 where all are 0.
  """
  counts = jnp.asarray(counts)
  counts = counts.astype(at_least_float32(counts.dtype))
  total = jnp.sum(counts, axis=-1, keepdims=True)
  p = counts / jnp.where(total > 0, total, 1)
  return -jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0), axis=-1)


def perplexity(counts: jax.Array) -> jax.Array:
  """exp of the entropy of the codes' frequencies: from 1 (one code only) to K (all alike).

  Args:
    counts: [..., K], how often each code occurs; only their ratios matter. 1 where all are 0.
  """
  return jnp.exp(unigram_entropy(counts))


def usage(counts: jax.Array) -> jax.Array:
  """The share of the K codes that occur at all, in [0, 1]. counts: [..., K]."""
  return jnp.mean((jnp.asarray(counts) > 0).astype(jnp.float32), axis=-1)
