"""Convolutions over codes: a one-hot input makes of every tap a table, and of products lookups."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike


class CodeConv(nn.Module):
  """A convolution over the one-hot vectors of codes int32[B, H, W]; zeros outside the map.

  Where all taps are outside, the bias is not added either: nothing was read. (PixelSNAIL's first
  convolutions are shifted after they are computed, bias and all, and zeros shifted in.)

  Attributes:
    num_codes: K.
    features: F, the number of output channels.
    taps: (row, column) offsets from the output's position of each of the T codes that it reads.
    dtype: dtype of the output.
    param_dtype: dtype of the parameters.
    scale: variance of the outputs at initialisation, where all taps are on the map.
  """

  num_codes: int
  features: int
  taps: tuple[tuple[int, int], ...]
  dtype: DTypeLike
  param_dtype: DTypeLike = jnp.float32
  scale: float = 1.0

  def setup(self) -> None:
    T, K, F = len(self.taps), self.num_codes, self.features
    init = nn.initializers.normal((self.scale / T) ** 0.5)
    self.tables = self.param("tables", init, (T, K, F), self.param_dtype)
    self.bias = self.param("bias", nn.initializers.zeros, (F,), self.param_dtype)

  def __call__(self, codes: jax.Array) -> jax.Array:
    """The whole map: int32[B, H, W] -> [B, H, W, F]."""
    _, H, W = codes.shape
    x, any_inside = jnp.zeros((), self.dtype), np.zeros((H, W), bool)
    for (down, right), table in zip(self.taps, jnp.unstack(self.tables), strict=True):
      rows, columns = np.arange(H) + down, np.arange(W) + right
      inside = ((rows >= 0) & (rows < H))[:, None] & ((columns >= 0) & (columns < W))
      read = codes[:, rows.clip(0, H - 1)[:, None], columns.clip(0, W - 1)]
      x = x + jnp.where(inside[..., None], table[read], 0).astype(self.dtype)
      any_inside |= inside
    return x + jnp.where(any_inside[..., None], self.bias, 0).astype(self.dtype)

  def at(self, codes: jax.Array, row: jax.Array, columns: jax.Array) -> jax.Array:
    """N columns int32[N] of one row: [B, N, F]; of `codes` only those at the taps are read."""
    _, H, W = codes.shape
    down, right = np.asarray(self.taps, np.int32).T
    rows, columns = row + down, columns[:, None] + right  # [T], [N, T]
    inside = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
    read = codes[:, rows.clip(0, H - 1), columns.clip(0, W - 1)]  # [B, N, T]
    read = read + self.num_codes * np.arange(len(down), dtype=np.int32)
    found = self.tables.reshape(-1, self.features)[read]
    x = jnp.where(inside[..., None], found, 0).astype(self.dtype).sum(2)
    return x + jnp.where(inside.any(1)[:, None], self.bias, 0).astype(self.dtype)
