"""Multi-head attention of every position of a sequence to those before it, with a cache.

    out_p = sum_{q < p} softmax_q(query_p . key_q / sqrt(d)) value_q,      out_0 = 0

Strictly causal: a position does not attend to itself, since its key and value may be made from
what it is to predict; the first one has nothing to attend to. Scores and softmax are float32 or
more. For a map, the sequence is its raster order.

Letters: B batch, T positions, N heads, d channels a head, A = N d.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.dense import Dense
from vqlab.nn.dtypes import at_least_float32


class AttentionCache(NamedTuple):
  """Keys and values of the positions so far.

  B and N are one axis, so that none is 1 where the batch is: XLA on CPU drops such an axis in the
  products, and then copied each array four times a step (0.35 ms of 1.3 at PixelSNAIL's sizes).
  """

  keys: jax.Array  # [B N, T, d]
  values: jax.Array  # [B N, T, d]


class CausalAttention(nn.Module):
  """Strictly causal attention; queries are made from one input, keys and values from another.

  Attributes:
    num_heads: N.
    features: A, of queries, keys, values and output; a multiple of N.
    dropout: rate on the weights when `train=True` (rng collection "dropout").
    dtype: compute dtype of the projections and of the weighted sum.
    param_dtype: dtype of the parameters.
  """

  num_heads: int
  features: int
  dtype: DTypeLike
  dropout: float = 0.0
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    if self.num_heads < 1 or self.features % self.num_heads:
      raise ValueError(
        f"num_heads is {self.num_heads}; it must divide the {self.features} attention channels"
      )
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    self.query = Dense(self.features, **types)
    self.key_value = Dense(2 * self.features, **types)  # the keys first
    self.drop = nn.Dropout(self.dropout)

  def __call__(self, query: jax.Array, key: jax.Array, *, train: bool = False) -> jax.Array:
    """All positions: [B, T, Q] and [B, T, C] -> [B, T, A]."""
    T = query.shape[1]
    query, (key, value) = self._heads(self.query(query)), self._keys_values(key)
    before = jnp.tril(jnp.ones((T, T), bool), k=-1)
    weights = masked_softmax(jnp.einsum("ntd,nsd->nts", query, key), before, self._scale)
    weights = self.drop(weights, deterministic=not train).astype(self.dtype)
    return self._joined(jnp.einsum("nts,nsd->ntd", weights, value))

  def init_cache(self, batch: int, length: int) -> AttentionCache:
    """The cache before the first of `length` positions."""
    shape = (batch * self.num_heads, length, self.features // self.num_heads)
    return AttentionCache(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))

  def step(
    self, cache: AttentionCache, query: jax.Array, key: jax.Array, position: jax.Array
  ) -> tuple[AttentionCache, jax.Array]:
    """One position: [B, Q] and [B, C] -> [B, A], and the cache with its key and value."""
    query = self._heads(self.query(query[:, None]))
    key, value = self._keys_values(key[:, None])
    # Written first and masked after: what is read is then what was written, in place.
    at = (jnp.int32(0), position, jnp.int32(0))
    cache = AttentionCache(
      jax.lax.dynamic_update_slice(cache.keys, key, at),
      jax.lax.dynamic_update_slice(cache.values, value, at),
    )
    before = jnp.arange(cache.keys.shape[1], dtype=jnp.int32) < position
    weights = masked_softmax(jnp.einsum("ntd,nsd->nts", query, cache.keys), before, self._scale)
    out = jnp.einsum("nts,nsd->ntd", weights.astype(self.dtype), cache.values)
    return cache, self._joined(out)[:, 0]

  @property
  def _scale(self) -> float:
    return (self.features // self.num_heads) ** -0.5

  def _heads(self, x: jax.Array) -> jax.Array:
    """[B, T, A] -> [B N, T, d]."""
    B, T, A = x.shape
    x = x.reshape(B, T, self.num_heads, -1).transpose(0, 2, 1, 3)
    return x.reshape(B * self.num_heads, T, A // self.num_heads)

  def _joined(self, x: jax.Array) -> jax.Array:
    """[B N, T, d] -> [B, T, A]."""
    N, T, d = self.num_heads, *x.shape[1:]
    return x.reshape(-1, N, T, d).transpose(0, 2, 1, 3).reshape(-1, T, N * d)

  def _keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    key, value = jnp.split(self.key_value(x), 2, axis=-1)
    return self._heads(key), self._heads(value)


def masked_softmax(scores: jax.Array, mask: jax.Array, scale: float) -> jax.Array:
  """Softmax over the last axis where the mask is True; zeros elsewhere, and where it never is."""
  scores = scores.astype(at_least_float32(scores.dtype)) * scale
  scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
  return jnp.where(mask, jax.nn.softmax(scores), 0)
