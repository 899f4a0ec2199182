"""What a frame of codes makes of the frames before it; see `vqlab/priors/video.py`.

Letters: M maps (videos, or frames of videos), S = H W positions, F frames of the window, N heads, d
channels a head, C = N d.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.attention import masked_softmax
from vqlab.nn.dense import Dense
from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.gated import GatedResidual
from vqlab.nn.norm import LayerNorm


class ContextBlock(nn.Module):
  """Attention of a frame's positions to all positions of earlier frames, and a gated 1x1 block.

      x = x + O softmax(Q norm(x) . (K f + K' p) / sqrt(d) + a) V f,      x = gated(x)

  f are the frames' features, p embeddings of positions, a a bias that a head has of how many frames
  ago it is. Keys and values know nothing of the frame that looks back at them: they are made once.

  Attributes:
    channels: C.
    num_heads: N; they divide C.
    window: F.
    dropout: rate in the gated block when `train=True` (rng collection "dropout").
    dtype: compute dtype. Softmaxes are float32 or more.
    param_dtype: dtype of the parameters.
  """

  channels: int
  num_heads: int
  window: int
  dropout: float
  dtype: DTypeLike
  param_dtype: DTypeLike

  def setup(self) -> None:
    C, types = self.channels, {"dtype": self.dtype, "param_dtype": self.param_dtype}
    self.norm = LayerNorm(**types)
    # A new block looks at where its query says, whatever is there.
    self.query = Dense(C, kernel_init=same, **types)
    self.key_place = Dense(C, use_bias=False, kernel_init=same, **types)
    self.key = Dense(C, use_bias=False, kernel_init=nn.initializers.zeros, **types)
    self.value, self.out = (Dense(C, **types) for _ in range(2))
    shape = (self.num_heads, self.window)
    self.ago = self.param("ago", _recent, shape, self.param_dtype)
    self.gated = GatedResidual(2 * C, dropout=self.dropout, **types)

  def keys_values(self, features: jax.Array, places: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Frames' features [..., S, D] and embeddings of positions [S, C] -> [..., S, C] twice."""
    return self.key(features) + self.key_place(places), self.value(features)

  def __call__(
    self, x: jax.Array, keys: jax.Array, values: jax.Array, known: jax.Array, *, train: bool
  ) -> jax.Array:
    """A frame's positions, given the frames before it, the oldest first.

    Args:
      x: [M, S, C].
      keys, values: [M, F, S, C].
      known: bool[M, F]: whether there is such a frame; where there is none, nothing is attended to.
      train: whether dropout is on.

    Returns:
      [M, S, C].
    """
    M, S, C = x.shape
    heads = lambda x: x.reshape(M, -1, self.num_heads, C // self.num_heads)
    scores = jnp.einsum("msnd,mrnd->mnsr", heads(self.query(self.norm(x))), heads(keys))
    scores = scores.astype(at_least_float32(scores.dtype)) * (C // self.num_heads) ** -0.5
    ago = jnp.repeat(self.ago.astype(scores.dtype), S, axis=1)  # [N, F S]
    known = jnp.repeat(known, S, axis=1)[:, None, None]
    weights = masked_softmax(scores + ago[:, None], known, 1.0).astype(self.dtype)
    seen = jnp.einsum("mnsr,mrnd->msnd", weights, heads(values)).reshape(M, S, C)
    return self.gated(x + self.out(seen), train=train)


def _recent(key: jax.Array, shape: tuple[int, int], dtype: DTypeLike) -> jax.Array:
  """Biases [N, F] to begin with: a frame weighs less than half of what the next one does."""
  del key
  return jnp.broadcast_to(jnp.arange(1 - shape[1], 1, dtype=dtype), shape)


def waves(key: jax.Array, shape: tuple[int, int, int], dtype: DTypeLike) -> jax.Array:
  """Embeddings [H, W, C] of positions to begin with: pairs of waves, over rows and columns in turn.

  Their periods divide the map's sides: a shift, around its edges too, turns each pair by an angle.
  """
  del key
  H, W, C = shape
  pair, quarter = np.divmod(np.arange(C), 2)
  sides = np.stack(np.meshgrid(np.arange(H) / H, np.arange(W) / W, indexing="ij"), -1)
  most = np.asarray([max((side - 1) // 2, 1) for side in (H, W)])[pair % 2]
  angle = 2 * np.pi * (1 + pair // 2 % most) * sides[..., pair % 2] - np.pi / 2 * quarter
  return jnp.asarray(2**0.5 * np.cos(angle), dtype)


def turned(x: jax.Array, by: jax.Array) -> jax.Array:
  """Pairs of channels, each multiplied as a complex number: [..., C] twice -> [..., C]."""
  (a, b), (c, d) = ((x[..., 0::2], x[..., 1::2]) for x in (x, by))
  return jnp.stack([a * c - b * d, a * d + b * c], axis=-1).reshape(*(a * c).shape[:-1], -1)


def same(key: jax.Array, shape: tuple[int, int], dtype: DTypeLike) -> jax.Array:
  """The kernel of a product that changes nothing."""
  del key
  return jnp.eye(*shape, dtype=dtype)
