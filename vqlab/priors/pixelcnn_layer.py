"""A layer of the gated PixelCNN; see `vqlab/priors/pixelcnn.py` for the paper and the equations."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.causal import CausalConv
from vqlab.nn.dense import Dense


class GatedLayer(nn.Module):
  """One layer of both stacks. Biases are [B, 4C], or of positions [B, (H,) W, 4C], or None."""

  channels: int
  radius: int
  dropout: float
  dtype: DTypeLike
  param_dtype: DTypeLike

  def setup(self) -> None:
    C, r = self.channels, self.radius
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    # The gate's slope at 0 is 1/2 and this stack has no residual: without a gain of 2 the rows
    # far above arrive 2**-L as strong, and what they decide is not learned at all.
    init = nn.initializers.variance_scaling(4.0, "fan_in", "truncated_normal")
    self.vertical = CausalConv(2 * C, above=r, left=r, right=r, kernel_init=init, **types)
    self.link = Dense(2 * C, use_bias=False, **types)
    self.horizontal = CausalConv(2 * C, left=r, **types)
    self.residual = Dense(C, **types)
    self.drop = nn.Dropout(self.dropout)

  def __call__(
    self, v: jax.Array, h: jax.Array, bias: jax.Array | None, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Both stacks over the whole map: [B, H, W, C] twice -> the same."""
    a, from_above = self._link(self.vertical(v), bias)
    b = self.horizontal(h) + from_above
    v = self.drop(_gate(a), deterministic=not train)
    return v, h + self.residual(self.drop(_gate(b), deterministic=not train))

  def row(self, rows: jax.Array, bias: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """The vertical stack's last row of [B, r+1, W, C]: next input [B, W, C], gates [B, W, 2C]."""
    a, from_above = self._link(self.vertical.row(rows), bias)
    return _gate(a), from_above

  def position(self, window: jax.Array, from_above: jax.Array) -> jax.Array:
    """The horizontal stack's last column of [B, r+1, C], given [B, 2C] from above: [B, C]."""
    b = self.horizontal.position(window[:, None]) + from_above
    return window[:, -1] + self.residual(_gate(b))

  def _link(self, a: jax.Array, bias: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Vertical activations [B, ..., 2C] with their bias, and their share of the gates b."""
    if bias is None:
      return a, self.link(a)
    vertical, horizontal = jnp.split(spread(bias, a.ndim), 2, axis=-1)
    a = a + vertical
    return a, self.link(a) + horizontal


def spread(x: jax.Array, ndim: int) -> jax.Array:
  """[B, ..., C] with axes of 1 after the first, as many as are missing."""
  return x.reshape(x.shape[0], *(1,) * (ndim - x.ndim), *x.shape[1:])


def _gate(x: jax.Array) -> jax.Array:
  """[..., 2C] -> [..., C]."""
  signal, gate = jnp.split(x, 2, axis=-1)
  return jnp.tanh(signal) * nn.sigmoid(gate)
