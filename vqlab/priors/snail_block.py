"""The end of a PixelSNAIL block: attention of every position to those before it, or a 1x1 product.

See `vqlab/priors/pixelsnail.py` for the paper and the equations.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.attention import AttentionCache, CausalAttention
from vqlab.nn.dense import Dense
from vqlab.nn.gated import GatedResidual


class SnailBlock(nn.Module):
  """What a block does after its layers; inputs [..., C], coordinates [..., 2].

  Attributes:
    channels: C.
    attention: whether there is attention, or a 1x1 product alone.
    num_heads: heads of the attention.
    attention_channels: width of queries, keys and values.
    dropout: rate when `train=True` (rng collection "dropout").
    dtype: compute dtype.
    param_dtype: dtype of the parameters.
  """

  channels: int
  attention: bool
  num_heads: int
  attention_channels: int
  dropout: float
  dtype: DTypeLike
  param_dtype: DTypeLike

  def setup(self) -> None:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    if self.attention:
      gated = {"hidden": self.channels, "dropout": self.dropout, **types}
      self.key = GatedResidual(**gated)
      self.query = GatedResidual(**gated)
      self.attend = CausalAttention(
        self.num_heads, self.attention_channels, dropout=self.dropout, **types
      )
      self.out = GatedResidual(**gated)
    else:
      self.out = Dense(self.channels, **types)

  def __call__(self, first: jax.Array, x: jax.Array, places: jax.Array, train: bool) -> jax.Array:
    """Whole maps: the block's input, its last layer's output, coordinates -> [B, H, W, C]."""
    if not self.attention:
      return self.out(_concatenate(x, places))
    key, query = self._inputs(first, x, places, train)
    B, H, W, _ = x.shape
    flat = (B, H * W, -1)
    out = self.attend(query.reshape(flat), key.reshape(flat), train=train)
    return self.out(x, out.reshape(B, H, W, -1), train=train)

  def step(
    self,
    cache: AttentionCache | None,
    first: jax.Array,
    x: jax.Array,
    places: jax.Array,
    position: jax.Array,
  ) -> tuple[AttentionCache | None, jax.Array]:
    """One position: [B, C] twice, [2] -> [B, C]."""
    if not self.attention:
      return None, self.out(_concatenate(x, places))
    key, query = self._inputs(first, x, places, False)
    cache, out = self.attend.step(cache, query, key, position)
    return cache, self.out(x, out, train=False)

  def init_cache(self, batch: int, length: int) -> AttentionCache:
    """The attention's cache before the first of `length` positions."""
    return self.attend.init_cache(batch, length)

  def _inputs(
    self, first: jax.Array, x: jax.Array, places: jax.Array, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    key = self.key(_concatenate(first, x, places), train=train)
    return key, self.query(_concatenate(x, places), train=train)


def _concatenate(*parts: jax.Array) -> jax.Array:
  """Joins the last axes; the others are broadcast."""
  shape = jnp.broadcast_shapes(*(x.shape[:-1] for x in parts))
  return jnp.concatenate([jnp.broadcast_to(x, (*shape, x.shape[-1])) for x in parts], axis=-1)
