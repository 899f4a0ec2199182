"""How much of a codebook is used, from how often each code was."""

import jax
import jax.numpy as jnp


def code_counts(indices: jax.Array, *, num_codes: int, mask: jax.Array | None = None) -> jax.Array:
  """How often each code occurs, f32[K]; counts of several batches add up.

  Args:
    indices: i32[B, ...]; -1 counts for nothing.
    num_codes: K.
    mask: bool over leading axes of indices.
  """
  valid = indices >= 0
  if mask is not None:
    valid &= mask.reshape(mask.shape + (1,) * (indices.ndim - mask.ndim))
  where = jnp.where(valid, indices, num_codes).reshape(-1)
  return jnp.zeros(num_codes, jnp.float32).at[where].add(1.0, mode="drop")


def perplexity(counts: jax.Array) -> jax.Array:
  """exp of the entropy of the codes' frequencies: from 1 (one code only) to K (all alike).

  Args:
    counts: [K], how often each code occurs.
  """
  p = counts / jnp.maximum(jnp.sum(counts), 1).astype(counts.dtype)
  return jnp.exp(-jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0)))


def usage(counts: jax.Array) -> jax.Array:
  """The share of the K codes that occur at all, in [0, 1]. counts: [K]."""
  return jnp.mean((counts > 0).astype(counts.dtype))
