"""One draw from logits, as every way of sampling makes it; see `vqlab.priors.sampling`.

Letters: B batch, R rows of W codes, K codes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from vqlab.metrics.likelihood import log_likelihood

PyTree = Any
Maps = tuple[
  jax.Array, jax.Array | None
]  # codes i32[B, R, W], and their log-probabilities if asked


def keys_of(key: jax.Array, batch: int, first_index: ArrayLike) -> jax.Array:
  """One key a sample."""
  indices = jnp.arange(batch, dtype=jnp.uint32) + jnp.asarray(first_index).astype(jnp.uint32)
  return jax.vmap(partial(jax.random.fold_in, key))(indices)


def put(
  maps: Maps,
  logits: jax.Array,
  row: jax.Array,
  index: jax.Array,
  *,
  keys: jax.Array,
  mask: jax.Array | None,
  greedy: bool,
  temperature: ArrayLike,
  top_k: int | None,
  top_p: ArrayLike | None,
) -> Maps:
  """The maps with one more position drawn from logits [B, K], unless the mask says it is given."""
  (codes, log_probs), told = maps, logits
  if greedy:
    drawn = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  else:
    # From the largest down, so that a small temperature overflows to -inf and never to inf.
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    logits = _filtered(logits / jnp.asarray(temperature).astype(logits.dtype), top_k, top_p)
    noise = _noise(keys, row * codes.shape[2] + index, logits.shape[-1], logits.dtype)
    drawn = jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
  drawn = drawn[:, None, None]
  at = (jnp.int32(0), row, index)
  if mask is not None:
    old = jax.lax.dynamic_slice(codes, at, drawn.shape)
    keep = jax.lax.dynamic_slice(mask, at, drawn.shape)
    drawn = jnp.where(keep, old, drawn)
  if log_probs is not None:
    found = log_likelihood(told, drawn[:, 0, 0])[:, None, None]
    log_probs = jax.lax.dynamic_update_slice(log_probs, found, at)
  return jax.lax.dynamic_update_slice(codes, drawn, at), log_probs


def loop(start: ArrayLike, stop: ArrayLike, body: Callable, carry: PyTree) -> PyTree:
  """`fori_loop` that counts in int32 whatever the default integer."""
  return jax.lax.fori_loop(jnp.asarray(start, jnp.int32), jnp.asarray(stop, jnp.int32), body, carry)


def _noise(keys: jax.Array, position: jax.Array, num_codes: int, dtype: DTypeLike) -> jax.Array:
  """Gumbel noise [B, K] of the samples with these keys at one position."""

  def draw(key: jax.Array) -> jax.Array:
    return jax.random.gumbel(jax.random.fold_in(key, position), (num_codes,), dtype)

  return jax.vmap(draw)(keys)


def _filtered(logits: jax.Array, top_k: int | None, top_p: jax.Array | None) -> jax.Array:
  """Sets the logits [B, K] outside the top k, then outside the top p of the rest, to -inf."""
  num_codes = logits.shape[-1]
  if top_k is not None and top_k > num_codes:
    raise ValueError(f"top_k is {top_k}; the prior has {num_codes} codes")
  if (top_k is None or top_k == num_codes) and top_p is None:
    return logits
  order = jnp.argsort(logits, axis=-1, stable=True, descending=True)
  ranked = jnp.take_along_axis(logits, order, axis=-1)
  if top_k is not None:
    ranked = jnp.where(jnp.arange(num_codes) < top_k, ranked, -jnp.inf)
  if top_p is not None:
    probs = jax.nn.softmax(ranked)
    above = jnp.pad(jnp.cumsum(probs, axis=-1)[:, :-1], ((0, 0), (1, 0)))  # mass ranked above
    first = jnp.arange(num_codes) == 0  # kept even where p is so small that it rounds to 0
    ranked = jnp.where(first | (above < jnp.asarray(top_p).astype(probs.dtype)), ranked, -jnp.inf)
  # Back to the order of the codes: the rank of each is the inverse of the permutation.
  return jnp.take_along_axis(ranked, jnp.argsort(order, axis=-1), axis=-1)
