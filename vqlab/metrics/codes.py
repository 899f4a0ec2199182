"""How much of a codebook is used, from how often each code was."""

import jax
import jax.numpy as jnp


def perplexity(counts: jax.Array) -> jax.Array:
  """exp of the entropy of the codes' frequencies: from 1 (one code only) to K (all alike).

  Args:
    counts: [K], how often each code occurs; counts of several batches add up before.
  """
  p = counts / jnp.maximum(jnp.sum(counts), 1).astype(counts.dtype)
  return jnp.exp(-jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0)))


def usage(counts: jax.Array) -> jax.Array:
  """The share of the K codes that occur at all, in [0, 1]. counts: [K]."""
  return jnp.mean((counts > 0).astype(counts.dtype))
