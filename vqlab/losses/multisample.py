"""Bounds on log p(x) by several samples, and VIMCO's gradient of them for discrete latents.

For z_1 .. z_S drawn from q(z | x), with w_s = p(x, z_s) / q(z_s | x),

    L = log 1/S sum_s w_s,        E[L] <= log p(x),   and tighter the larger S is

(Burda et al. 2016, arXiv 1509.00519); S = 1 is the evidence lower bound. Where the samples can't
be differentiated, the gradient of E[L] is (Mnih and Rezende 2016, arXiv 1602.06725)

    E[ sum_s (L - L_-s) d log q(z_s | x)  +  sum_s w_s / (sum_r w_r) d log w_s ]

where L_-s is L with w_s replaced by the geometric mean of the others: an estimate of L that does
not know sample s, so that subtracting it changes no expectation, and all of the variance.

Shapes: S samples, ... any further axes, such as B examples.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.nn.dtypes import at_least_float32


def multisample_bound(log_weights: jax.Array) -> jax.Array:
  """log 1/S sum_s w_s of log-weights [S, ...] -> [...], in nats and float32 at least."""
  log_weights = log_weights.astype(at_least_float32(log_weights.dtype))
  return jax.nn.logsumexp(log_weights, axis=0) - math.log(len(log_weights))


def vimco(log_weights: jax.Array, log_q: jax.Array) -> jax.Array:
  """`multisample_bound`, whose gradient is VIMCO's estimate.

  Args:
    log_weights: [S, ...], log p(x, z_s) - log q(z_s | x), differentiable in all parameters.
    log_q: [S, ...], log q(z_s | x), differentiable in those of q. The samples are constants.

  Raises:
    ValueError: the shapes differ, or there is one sample: the others are its baseline.
  """
  if log_weights.shape != log_q.shape or log_q.ndim < 1 or len(log_q) < 2:
    raise ValueError(
      "vimco: takes log_weights and log_q of one shape [S, ...] with at least 2 samples; found "
      f"{list(log_weights.shape)} and {list(log_q.shape)}"
    )
  bound = multisample_bound(log_weights)
  known = lax.stop_gradient(log_weights).astype(bound.dtype)
  count = len(known)
  others = (jnp.sum(known, axis=0) - known) / (count - 1)  # the logarithm of their geometric mean
  itself = jnp.eye(count, dtype=jnp.bool_).reshape(count, count, *(1,) * (known.ndim - 1))
  without = jax.vmap(multisample_bound)(jnp.where(itself, others[:, None], known[None]))
  signal = lax.stop_gradient(bound) - without
  log_q = log_q.astype(bound.dtype)
  return bound + jnp.sum(signal * (log_q - lax.stop_gradient(log_q)), axis=0)
