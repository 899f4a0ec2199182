"""3D convolutions of few channels, whose products would have too few rows or columns.

Taps over time become channels of the inputs, or of the outputs where those are few; outputs next to
each other become the channels of one, whose kernel is filled up with zeros.
"""

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.nn.patches3d import (
  Padding3D,
  Triple,
  divisor,
  kernel_gradient_patches,
  out_size,
  pad3d,
  part_of,
  zero_after,
  zeros_after,
)

# The outputs of a block of rows have that many numbers, 4 MiB.
_NUMBERS = 2**20


def convolve_planes(
  x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: tuple[tuple[int, int], ...]
) -> jax.Array:
  """XLA's two-dimensional convolution: [N, H, W, I], [kh, kw, I, O] -> [N, H', W', O]."""
  layout = ("NHWC", "HWIO", "NHWC")
  return lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=layout)


def convolve_space(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D, *, apart: bool = False
) -> jax.Array:
  """A two-dimensional convolution of all frames side by side, some rows at a time.

  Taps over time become channels of the inputs; with `apart`, of T the stride 1, of the outputs. XLA
  for CPUs divides a convolution among the cores along W' and nothing else, some 500 outputs for
  each, so that a frame at a time runs on one.
  3x7x7, 3 -> 64 at 16x112x112, stride 2: 9 ms, by patches 26 ms; `apart`, 5x7x7, 3 -> 8
  at 32x224x224: 27 ms, otherwise 69 ms.
  """
  kt, kh, kw, inputs, outputs = kernel.shape
  frames, height, width = out = out_size(x, kernel.shape[:3], stride, padding)
  x = pad3d(x, _filled(padding, -(x.shape[3] + sum(padding[2])) % stride[2]))
  batch, before, _, wide, _ = x.shape
  wide //= stride[2]
  last = (frames - 1) * stride[0] + 1
  if apart:
    kernel = kernel.transpose(1, 2, 3, 0, 4).reshape(kh, kw, inputs, kt * outputs)
  else:
    kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(kh, kw, kt * inputs, outputs)
  numbers = (before if apart else frames) * wide * kernel.shape[-1]
  rows = divisor(height, _NUMBERS // (batch * numbers))

  def step(i: jax.Array, y: jax.Array) -> jax.Array:
    start, length = i * rows * stride[1], (rows - 1) * stride[1] + kh
    part = part_of(x, (0, before), (start, length)).swapaxes(1, 2)
    if not apart:
      part = jnp.concatenate([part[:, :, t : t + last : stride[0]] for t in range(kt)], -1)
    part = part.reshape(batch, length, -1, part.shape[-1])
    part = convolve_planes(part, kernel, stride[1:], ((0, 0), (0, kw - 1)))
    part = part.reshape(batch, rows, -1, wide, part.shape[-1])[:, :, :, :width]
    if apart:
      taps = jnp.split(part, kt, -1)
      part = sum(tap[:, :, t : t + frames] for t, tap in enumerate(taps))
    return lax.dynamic_update_slice_in_dim(y, part.swapaxes(1, 2), i * rows, 2)

  return lax.fori_loop(0, height // rows, step, zeros_after(x, (batch, *out, outputs)))


def convolve_beside(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D
) -> jax.Array:
  """`convolve_space` of two outputs at once.

  1x3x3, 8 -> 8 at 32x56x56: 1.0 ms for 1.7 ms; 1x7x7, 3 -> 24 at 16x112x112, stride 2: 4 for 26.
  """
  (kt, kh, _, inputs, outputs), s = kernel.shape, stride[2]
  width = out_size(x, kernel.shape[:3], stride, padding)[2]
  beside = lambda *ends: jnp.pad(kernel, ((0, 0), (0, 0), ends, (0, 0), (0, 0)))
  wide = jnp.stack([beside(0, s), beside(s, 0)], -2).reshape(kt, kh, -1, inputs, 2 * outputs)
  y = convolve_space(x, wide, (*stride[:2], 2 * s), _filled(padding, width % 2 * s))
  return y.reshape(*y.shape[:3], -1, outputs)[:, :, :, :width]


def kernel_gradient_beside(
  x: jax.Array, dy: jax.Array, size: Triple, stride: Triple, padding: Padding3D
) -> jax.Array:
  """The kernel's gradient by patches of four outputs at once.

  [B, T, H, W, I], [B, T', H', W', O] -> [*size, I, O]; 1x3x3, 8 -> 8 at 32x56x56: 2.1 ms for 3.1.
  """
  fill, s, outputs = -dy.shape[3] % 4, stride[2], dy.shape[-1]
  dy = pad3d(dy, ((0, 0), (0, 0), (0, fill)))
  dy = dy.reshape(*dy.shape[:3], -1, 4 * outputs)
  how = (*size[:2], size[2] + 3 * s), (*stride[:2], 4 * s), _filled(padding, fill * s)
  wide = kernel_gradient_patches(x, dy, *how).reshape(*how[0], x.shape[-1], 4, outputs)
  return sum(wide[:, :, q * s : q * s + size[2], :, q] for q in range(4))


def kernel_gradient_frames(
  x: jax.Array, dy: jax.Array, size: Triple, stride: Triple, padding: Padding3D
) -> jax.Array:
  """The kernel's gradient, a frame of x after the other, all taps over time as outputs.

  [B, T, H, W, I], [B, T', H', W', O] -> [*size, I, O]; of T the stride is 1.
  """
  kt, (batch, frames, *plane, outputs) = size[0], dy.shape
  x, first = _uncropped(x, padding)
  length = max(x.shape[1] - 1 + first + kt, kt - 1 + frames)
  dy = pad3d(dy, ((kt - 1, length - (kt - 1) - frames), (0, 0), (0, 0)))
  how = (1, *size[1:]), (1, *stride[1:]), ((0, 0), *padding[1:])

  def step(t: jax.Array, total: jax.Array) -> jax.Array:
    part = part_of(dy, (t + first, kt)).transpose(0, 2, 3, 1, 4)
    part = part.reshape(batch, 1, *plane, kt * outputs)
    return total + kernel_gradient_beside(part_of(x, (t, 1)), part, *how)[0]

  total = jnp.full((*size[1:], x.shape[-1], kt * outputs), zero_after(x))
  total = lax.fori_loop(0, x.shape[1], step, total)
  return total.reshape(*size[1:], -1, kt, outputs).transpose(3, 0, 1, 2, 4)[::-1]


def _filled(padding: Padding3D, more: int) -> Padding3D:
  """The padding with `more` behind W."""
  return padding[0], padding[1], (padding[2][0], padding[2][1] + more)


def _uncropped(x: jax.Array, padding: Padding3D) -> tuple[jax.Array, int]:
  """x without the frames that the padding takes off, and what it adds before the others."""
  front, back = padding[0]
  return pad3d(x, ((min(front, 0), min(back, 0)), (0, 0), (0, 0))), max(front, 0)
