"""Gated residual blocks: x + a * sigmoid(b), where a and b are two convolutions away from x."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.dense import Dense


def glu(x: jax.Array) -> jax.Array:
  """Gated linear unit (Dauphin et al. 2016): [..., 2C] -> [..., C]; the first half is linear."""
  signal, gate = jnp.split(x, 2, axis=-1)
  return signal * nn.sigmoid(gate)


class GatedResidual(nn.Module):
  """x + glu(conv(elu(conv(elu(x))))), PixelSNAIL's block in rosinality's form.

  Attributes:
    hidden: channels between the two convolutions.
    kernel_size: 1 is a product over the last axis of an input of any rank; a larger, odd one is a
      convolution over [B, H, W, C] with zeros outside.
    dropout: rate before the second convolution when `train=True` (rng collection "dropout").
    dtype: compute dtype.
    param_dtype: dtype of the parameters.
  """

  hidden: int
  kernel_size: int = 1
  dropout: float = 0.0
  dtype: DTypeLike | None = None
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, extra: jax.Array | None = None, *, train: bool) -> jax.Array:
    """[..., C] -> [..., C]; `extra` [..., E] is read by the first convolution beside x."""
    h = x if extra is None else jnp.concatenate([x, extra], axis=-1)
    h = nn.elu(self._layer("first", self.hidden)(nn.elu(h)))
    h = nn.Dropout(self.dropout)(h, deterministic=not train)
    return x + glu(self._layer("second", 2 * x.shape[-1])(h))

  def _layer(self, name: str, features: int) -> nn.Module:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype, "name": name}
    if self.kernel_size == 1:
      return Dense(features, **types)
    return nn.Conv(features, (self.kernel_size, self.kernel_size), padding="SAME", **types)
