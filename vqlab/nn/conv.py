"""2D convolutions over images [B, H, W, C], and their lowering by platform.

XLA's CPU convolution runs at the rate of its matrix products where it has many channels and no
holes: what is left is to need fewer products (`vqlab/nn/winograd.py`), and to lead strided and
transposed convolutions back to such plain ones. It walks over every zero that a transposed
convolution inserts (its gradient at 4x4, stride 2, 64x16x16x128 took 20 times as long as as many
plain ones as there are phases of the output), and has no fast kernel gradient for the few channels
of an image. Accelerators have kernels of their own. All lowerings agree to rounding.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from vqlab.nn.dense import Dense
from vqlab.nn.winograd import winograd

_LAYOUT = ("NHWC", "HWIO", "NHWC")

# With fewer channels, in or out, the sums around the products cost more than the products saved.
_NARROW = 16
_WIDE = 64

Padding = tuple[tuple[int, int], tuple[int, int]]


def conv(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
  """2D convolution, padding "SAME": [B, H, W, I] -> [B, ceil(H / s), ceil(W / s), O].

  Args:
    x: [B, H, W, I].
    kernel: [kh, kw, I, O].
    stride: s.
  """
  default = lambda x, kernel: lax.conv_general_dilated(
    x, kernel, (stride, stride), "SAME", dimension_numbers=_LAYOUT
  )
  return lax.platform_dependent(
    x, kernel, cpu=lambda x, kernel: conv_on_cpu(x, kernel, stride=stride), default=default
  )


def conv_padded(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
  """2D convolution of stride 1 with the padding ((top, bottom), (left, right)).

  Args:
    x: [B, H, W, I].
    kernel: [kh, kw, I, O].
    padding: zeros around x.
  """
  default = lambda x, kernel: lax.conv_general_dilated(
    x, kernel, (1, 1), padding, dimension_numbers=_LAYOUT
  )
  on_cpu = lambda x, kernel: _plain(x, kernel, padding)
  return lax.platform_dependent(x, kernel, cpu=on_cpu, default=default)


def conv_on_cpu(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
  """`conv`, by fewer products where that pays: a strided one is plain over blocks of s x s."""
  s, (kh, kw, inputs, outputs) = stride, kernel.shape
  if s == 1:
    return _plain(x, kernel, tuple(((k - 1) // 2, k // 2) for k in (kh, kw)))
  if not _fewer_products(x, -(-kh // s), -(-kw // s), inputs, outputs):
    return lax.conv_general_dilated(x, kernel, (s, s), "SAME", dimension_numbers=_LAYOUT)
  x = jnp.pad(x, ((0, 0), _same(x.shape[1], kh, s), _same(x.shape[2], kw, s), (0, 0)))
  kernel = jnp.pad(kernel, ((0, -kh % s), (0, -kw % s), (0, 0), (0, 0)))
  batch, height, width, _ = x.shape
  x = x.reshape(batch, height // s, s, width // s, s, inputs).transpose(0, 1, 3, 2, 4, 5)
  kernel = kernel.reshape(-(-kh // s), s, -(-kw // s), s, inputs, outputs)
  kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(*kernel.shape[:3:2], -1, outputs)
  return _plain(x.reshape(*x.shape[:3], -1), kernel, ((0, 0), (0, 0)))


def _same(length: int, size: int, stride: int) -> tuple[int, int]:
  """The padding "SAME", and behind it as many zeros as fill up the last block."""
  outputs, blocks = -(-length // stride), -(-size // stride)
  front = max((outputs - 1) * stride + size - length, 0) // 2
  return front, stride * (outputs + blocks - 1) - length - front


def _plain(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
  """A convolution of stride 1 on CPU."""
  # A single row of outputs is half a tile: 0.57 ms for XLA's 0.35 at 3x5, 1x3x32x128 -> 256.
  rows = x.shape[1] + sum(padding[0]) - kernel.shape[0] + 1
  if rows > 1 and _fewer_products(x, *kernel.shape):
    return winograd(x, kernel, padding)
  return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_LAYOUT)


def _fewer_products(x: jax.Array, kh: int, kw: int, inputs: int, outputs: int) -> bool:
  # Lower precisions would round the sums of inputs.
  exact = x.dtype in (jnp.float32, jnp.float64)
  sides = {kh, kw} <= {1, 2, 3, 5} and max(kh, kw) > 1
  return exact and sides and min(inputs, outputs) >= _WIDE


def conv_transpose(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
  """Transposed 2D convolution, padding "SAME": [B, H, W, I] -> [B, sH, sW, O].

  The same function as `jax.lax.conv_transpose(x, kernel, (s, s), "SAME")`, lowered by platform.

  Args:
    x: [B, H, W, I].
    kernel: [kh, kw, I, O].
    stride: s.
  """
  on_cpu = conv_transpose_by_sums if kernel.shape[-1] < _NARROW else conv_transpose_by_phases
  return lax.platform_dependent(
    x,
    kernel,
    cpu=lambda x, kernel: on_cpu(x, kernel, stride=stride),
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
        y = _plain(x, taps, (padding_h, padding_w))
      else:  # a kernel narrower than the stride leaves gaps
        y = jnp.zeros((batch, height, width, out), x.dtype)
      columns.append(y)
    rows.append(jnp.stack(columns, axis=3))
  return jnp.stack(rows, axis=2).reshape(batch, height * stride, width * stride, out)


def conv_transpose_by_sums(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
  """`conv_transpose` as one product with all taps, whose results are added where they overlap.

  That is s^2 sums for each tap of a block of outputs: for few output channels. At 4x4, stride 2,
  2x64x64x64 -> 3 its kernel's gradient takes 2.3 ms on a core, by phases 17.8 ms.
  """
  s, (batch, height, width, _), out = stride, x.shape, kernel.shape[-1]
  # Blocks of s outputs that one input reaches, in either direction; the taps filled up with zeros.
  (rows, top), (columns, left) = ((-(-k // s), _front(k, s)) for k in kernel.shape[:2])
  ends = [(0, n * s - k) for n, k in zip((rows, columns), kernel.shape[:2], strict=True)]
  kernel = jnp.pad(kernel, (*ends, (0, 0), (0, 0)))[::-1, ::-1]
  products = jnp.tensordot(x, kernel, ((3,), (2,))).reshape(
    batch, height, width, rows, s, columns, s, out
  )
  total = 0
  for i in range(rows):
    for j in range(columns):
      at = ((0, 0), (i, rows - i), (j, columns - j), (0, 0), (0, 0), (0, 0))
      total = total + jnp.pad(products[:, :, :, i, :, j], at)
  y = total.transpose(0, 1, 3, 2, 4, 5)
  y = y.reshape(batch, (height + rows) * s, (width + columns) * s, out)
  top, left = rows * s - 1 - top, columns * s - 1 - left
  return y[:, top : top + s * height, left : left + s * width]


def _front(size: int, stride: int) -> int:
  """What lax pads the dilated input by in front: output o reads position o + tap - front."""
  return size - 1 if stride > size - 1 else -(-(size + stride - 2) // 2)


def _phase(phase: int, size: int, stride: int) -> tuple[range, tuple[int, int]]:
  """The taps that reach outputs `phase` (mod stride), and the padding of their convolution."""
  front = _front(size, stride)
  taps = range((front - phase) % stride, size, stride)
  offsets = [(phase + tap - front) // stride for tap in taps]
  return taps, ((-offsets[0], offsets[-1]) if offsets else (0, 0))


class Conv(nn.Module):
  """A learned `conv` with a bias; its params are those of Linen's own Conv."""

  features: int
  kernel_size: int = 3
  stride: int = 1
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x, kernel, bias = _promoted(self, x)
    return conv(x, kernel, stride=self.stride) + bias


class ConvTranspose(nn.Module):
  """A learned `conv_transpose` with a bias; its params are those of Linen's own ConvTranspose."""

  features: int
  kernel_size: int = 4
  stride: int = 2
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x, kernel, bias = _promoted(self, x)
    return conv_transpose(x, kernel, stride=self.stride) + bias


def _promoted(layer: Conv | ConvTranspose, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The input and the layer's parameters in its compute dtype."""
  shape = (layer.kernel_size, layer.kernel_size, x.shape[-1], layer.features)
  kernel = layer.param("kernel", nn.initializers.lecun_normal(), shape, layer.param_dtype)
  bias = layer.param("bias", nn.initializers.zeros, (layer.features,), layer.param_dtype)
  return tuple(a.astype(layer.dtype) for a in (x, kernel, bias))


class ResidualBlock(nn.Module):
  """x + (ReLU, 3x3 conv, ReLU, 1x1 conv)(x), the block of VQ-VAE (arXiv 1711.00937, section 4.1).

  `channels` is the width between the two convolutions, `out_init` how the last kernel begins.
  """

  channels: int
  out_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    y = Conv(self.channels, **types)(nn.relu(x))
    return x + Dense(x.shape[-1], kernel_init=self.out_init, **types)(nn.relu(y))
