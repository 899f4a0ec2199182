"""Companding of sound by the mu law (ITU-T G.711): levels that are finer where sound is softer.

    y = sign(x) log(1 + mu |x|) / log(1 + mu),  mu = K - 1

and y in [-1, 1] in K equal steps, as WaveNet takes samples (arXiv 1609.03499, section 2.2).
"""

import math

import jax
import jax.numpy as jnp

from vqlab.nn.dtypes import at_least_float32


def companded(x: jax.Array, *, num_codes: int = 256) -> jax.Array:
  """y of samples x in [-1, 1]; what is beyond is clipped."""
  x, mu = jnp.clip(x.astype(at_least_float32(x.dtype)), -1, 1), num_codes - 1
  return jnp.sign(x) * jnp.log1p(mu * jnp.abs(x)) / math.log1p(mu)


def mu_law(x: jax.Array, *, num_codes: int = 256) -> jax.Array:
  """Samples in [-1, 1] as codes i32[...] in [0, K); what is beyond is clipped."""
  y = companded(x, num_codes=num_codes)
  return jnp.rint((y + 1) / 2 * (num_codes - 1)).astype(jnp.int32)


def inverse_mu_law(codes: jax.Array, *, num_codes: int = 256) -> jax.Array:
  """The samples f32[...] in [-1, 1] that codes stand for."""
  mu = num_codes - 1
  y = 2 * codes.astype(jnp.float32) / mu - 1
  return jnp.sign(y) * jnp.expm1(jnp.abs(y) * math.log1p(mu)) / mu
