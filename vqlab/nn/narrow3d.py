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
  kernel_gradient_patches,
  out_size,
  pad3d,
  zero_after,
  zeros_after,
)


def convolve_planes(
  x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: tuple[tuple[int, int], ...]
) -> jax.Array:
  """XLA's two-dimensional convolution: [N, H, W, I], [kh, kw, I, O] -> [N, H', W', O]."""
  layout = ("NHWC", "HWIO", "NHWC")
  return lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=layout)


def convolve_space(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D
) -> jax.Array:
  """A two-dimensional convolution of each frame; the taps over time become channels.

  1x7x7, 3 -> 45 at 16x112x112, stride 2: 8 ms, by patches 12 ms.
  """
  kt, kh, kw, inputs, outputs = kernel.shape
  frames = out_size(x, kernel.shape[:3], stride, padding)[0]
  x = pad3d(x, (padding[0], (0, 0), (0, 0)))
  last = (frames - 1) * stride[0] + 1
  x = jnp.concatenate([x[:, t : t + last : stride[0]] for t in range(kt)], -1)
  kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(kh, kw, kt * inputs, outputs)
  y = convolve_planes(x.reshape(-1, *x.shape[2:]), kernel, stride[1:], padding[1:])
  return y.reshape(-1, frames, *y.shape[1:])


def convolve_beside(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D
) -> jax.Array:
  """`convolve_space` of two outputs at once.

  1x3x3, 8 -> 8 at 32x56x56: 2.4 ms for 8 ms; 1x7x7, 3 -> 24 at 16x112x112, stride 2: 6 ms for 57.
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

  [B, T, H, W, I], [B, T', H', W', O] -> [*size, I, O]; 1x3x3, 8 -> 8 at 32x56x56: 5 ms for 6 ms.
  """
  fill, s, outputs = -dy.shape[3] % 4, stride[2], dy.shape[-1]
  dy = pad3d(dy, ((0, 0), (0, 0), (0, fill)))
  dy = dy.reshape(*dy.shape[:3], -1, 4 * outputs)
  how = (*size[:2], size[2] + 3 * s), (*stride[:2], 4 * s), _filled(padding, fill * s)
  wide = kernel_gradient_patches(x, dy, *how).reshape(*how[0], x.shape[-1], 4, outputs)
  return sum(wide[:, :, q * s : q * s + size[2], :, q] for q in range(4))


def convolve_frames(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D
) -> jax.Array:
  """A frame of x after the other, all taps over time as outputs; of T the stride is 1.

  5x7x7, 3 -> 8 at 32x224x224: 64 ms, all frames at once 132 ms.
  """
  kt, outputs = kernel.shape[0], kernel.shape[-1]
  frames, *plane = out_size(x, kernel.shape[:3], stride, padding)
  taps = kernel[::-1].transpose(1, 2, 3, 0, 4).reshape(1, *kernel.shape[1:4], kt * outputs)
  x, first = _uncropped(x, padding)

  def step(t: jax.Array, y: jax.Array) -> jax.Array:
    frame = lax.dynamic_slice_in_dim(x, t, 1, 1)
    part = convolve_space(frame, taps, (1, *stride[1:]), ((0, 0), *padding[1:]))
    part = part.reshape(-1, *plane, kt, outputs).transpose(0, 3, 1, 2, 4)
    part += lax.dynamic_slice_in_dim(y, t + first, kt, 1)
    return lax.dynamic_update_slice_in_dim(y, part, t + first, 1)

  # The frame t adds to kt frames, those that begin at t + first - (kt - 1).
  length = max(x.shape[1] - 1 + first + kt, kt - 1 + frames)
  y = zeros_after(x, (x.shape[0], length, *plane, outputs))
  return lax.fori_loop(0, x.shape[1], step, y)[:, kt - 1 : kt - 1 + frames]


def kernel_gradient_frames(
  x: jax.Array, dy: jax.Array, size: Triple, stride: Triple, padding: Padding3D
) -> jax.Array:
  """The kernel's gradient, likewise."""
  kt, (batch, frames, *plane, outputs) = size[0], dy.shape
  x, first = _uncropped(x, padding)
  length = max(x.shape[1] - 1 + first + kt, kt - 1 + frames)
  dy = pad3d(dy, ((kt - 1, length - (kt - 1) - frames), (0, 0), (0, 0)))
  how = (1, *size[1:]), (1, *stride[1:]), ((0, 0), *padding[1:])

  def step(t: jax.Array, total: jax.Array) -> jax.Array:
    part = lax.dynamic_slice_in_dim(dy, t + first, kt, 1).transpose(0, 2, 3, 1, 4)
    part = part.reshape(batch, 1, *plane, kt * outputs)
    return total + kernel_gradient_beside(lax.dynamic_slice_in_dim(x, t, 1, 1), part, *how)[0]

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
