"""Learned 3D convolutions over clips, alone and with batch normalization."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from vqlab.nn.checks import one_of
from vqlab.nn.conv3d import conv3d
from vqlab.nn.norm import BatchNorm
from vqlab.nn.patches3d import Padding3D, Triple

# How windows lie: "centred", k - 1 zeros halved, of an odd number the larger half behind (PyTorch's
# k // 2 where k is odd); "same", as many as make ceil(size / stride) outputs, which depends on the
# size (TensorFlow's SAME); or stated for each axis.
NamedPadding = Literal["centred", "same"]
Padding = NamedPadding | Padding3D


def padding_of(padding: Padding, size: Triple, window: Triple, stride: Triple) -> Padding3D:
  """What a window over [T, H, W] = size is padded with, before and after each axis."""
  if padding == "centred":
    return tuple(((k - 1) // 2, k // 2) for k in window)
  if padding == "same":
    totals = (
      max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, window, stride, strict=True)
    )
    return tuple((total // 2, total - total // 2) for total in totals)
  if isinstance(padding, str):
    one_of("padding", padding, ("centred", "same"))
  return padding


class Conv3D(nn.Module):
  """A learned `conv3d`: [B, T, H, W, I] -> [B, T', H', W', features]; params kernel and bias."""

  features: int
  kernel_size: Triple = (1, 1, 1)
  stride: Triple = (1, 1, 1)
  padding: Padding = "centred"
  groups: int = 1
  use_bias: bool = False
  kernel_init: Initializer = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    padding = padding_of(self.padding, x.shape[1:4], self.kernel_size, self.stride)
    y = conv3d(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      stride=self.stride,
      padding=padding,
      groups=self.groups,
    )
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
      y = y + bias.astype(self.dtype)
    return y


class ConvNorm(nn.Module):
  """Convolution without bias, batch normalization, activation; modules conv and norm.

  Attributes:
    features, kernel_size, stride, padding, groups: see `conv3d`; padding also by name.
    activation: None for none.
    use_scale, scale_init: of the norm's scale; without it that is 1.
    epsilon, momentum: of the norm; the momentum is what running statistics keep of themselves.
    dtype: of the computation; statistics are float32 at least.
    param_dtype: of the parameters.
  """

  features: int
  kernel_size: Triple = (1, 1, 1)
  stride: Triple = (1, 1, 1)
  padding: Padding = "centred"
  groups: int = 1
  activation: Callable[[jax.Array], jax.Array] | None = nn.relu
  use_scale: bool = True
  scale_init: Initializer = nn.initializers.ones
  epsilon: float = 1e-5
  momentum: float = 0.9
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool = False, axis_name: str | None = None
  ) -> jax.Array:
    """[B, T, H, W, I] -> [B, T', H', W', features]; `axis_name`: see `BatchNorm`."""
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    x = Conv3D(
      self.features,
      self.kernel_size,
      stride=self.stride,
      padding=self.padding,
      groups=self.groups,
      name="conv",
      **types,
    )(x)
    norm = BatchNorm(
      momentum=self.momentum,
      epsilon=self.epsilon,
      use_scale=self.use_scale,
      scale_init=self.scale_init,
      name="norm",
      **types,
    )
    x = norm(x, train=train, axis_name=axis_name)
    return x if self.activation is None else self.activation(x)
