"""2D convolutions over images [B, H, W, C], and the lowering of the transposed one.

XLA's CPU convolution walks over every zero that a transposed convolution inserts: at 4x4, stride 2,
64x16x16x128 its gradient took 20 times as long as the same product written as s x s plain
convolutions, one for each phase of the output. So that is what runs on CPU; accelerators have
kernels of their own. Both agree to rounding.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv_transpose(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
  """Transposed 2D convolution, padding "SAME": [B, H, W, I] -> [B, sH, sW, O].

  The same function as `jax.lax.conv_transpose(x, kernel, (s, s), "SAME")`, lowered by platform.

  Args:
    x: [B, H, W, I].
    kernel: [kh, kw, I, O].
    stride: s.
  """
  return lax.platform_dependent(
    x,
    kernel,
    cpu=lambda x, kernel: conv_transpose_by_phases(x, kernel, stride=stride),
    default=lambda x, kernel: lax.conv_transpose(
      x, kernel, (stride, stride), "SAME", dimension_numbers=_LAYOUT
    ),
  )


def conv_transpose_by_phases(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
  """`conv_transpose` as stride x stride plain convolutions, interleaved."""
  batch, height, width, _ = x.shape
  kh, kw, _, out = kernel.shape
  rows = []
  for a in range(stride):
    taps_h, padding_h = _phase(a, kh, stride)
    columns = []
    for b in range(stride):
      taps_w, padding_w = _phase(b, kw, stride)
      if taps_h and taps_w:
        taps = kernel[taps_h.start :: stride, taps_w.start :: stride]
        y = lax.conv_general_dilated(
          x, taps, (1, 1), (padding_h, padding_w), dimension_numbers=_LAYOUT
        )
      else:  # a kernel narrower than the stride leaves gaps
        y = jnp.zeros((batch, height, width, out), x.dtype)
      columns.append(y)
    rows.append(jnp.stack(columns, axis=3))
  return jnp.stack(rows, axis=2).reshape(batch, height * stride, width * stride, out)


def _phase(phase: int, size: int, stride: int) -> tuple[range, tuple[int, int]]:
  """The taps that reach outputs `phase` (mod stride), and the padding of their convolution."""
  # lax pads the dilated input by this much in front: output o reads position o + tap - front.
  front = size - 1 if stride > size - 1 else -(-(size + stride - 2) // 2)
  taps = range((front - phase) % stride, size, stride)
  offsets = [(phase + tap - front) // stride for tap in taps]
  return taps, ((-offsets[0], offsets[-1]) if offsets else (0, 0))


class ConvTranspose(nn.Module):
  """A learned `conv_transpose` with a bias; its params are those of Linen's own ConvTranspose."""

  features: int
  kernel_size: int = 4
  stride: int = 2
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, self.param_dtype)
    bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
    x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
    return conv_transpose(x, kernel, stride=self.stride) + bias


class ResidualBlock(nn.Module):
  """x + (ReLU, 3x3 conv, ReLU, 1x1 conv)(x), the block of VQ-VAE (arXiv 1711.00937, section 4.1).

  `channels` is the width between the two convolutions.
  """

  channels: int
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    y = nn.Conv(self.channels, (3, 3), **types)(nn.relu(x))
    return x + nn.Dense(x.shape[-1], **types)(nn.relu(y))
