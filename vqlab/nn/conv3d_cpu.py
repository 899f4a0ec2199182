"""What computes a 3D convolution and its two gradients on CPUs, chosen by shapes.

The gradient of x is itself a convolution, of dy with the kernel turned round, or as many as the
stride has phases; the kernel's gradient has forms of its own. Figures, here and in the forms'
files, are of two cores of an AMD EPYC with AVX-512 in float32 and batch 1.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.narrow3d import (
  convolve_beside,
  convolve_planes,
  convolve_space,
  kernel_gradient_beside,
  kernel_gradient_frames,
)
from vqlab.nn.patches3d import (
  Padding3D,
  Triple,
  convolve_patches,
  kernel_gradient_patches,
  out_size,
  pad3d,
  zero_after,
)
from vqlab.nn.shifts3d import convolve_depthwise, convolve_few, kernel_gradient_depthwise
from vqlab.nn.winograd3d import convolve_tiles, kernel_gradient_tiles

# Tiles need channels enough for their products to outweigh the transforms, and outputs enough, for
# each channel, for the transform of the taps, which makes four kernels of one: 1x3x3, 512 -> 512 at
# 8x7x7 and batch 4, took 25 ms, by patches 21 ms, its kernel's gradient 40 ms for 28.
_WIDE = 32
_MANY = 4
# Products have no more rate than their few columns, and patches of few channels are copied a few
# numbers at a time.
_NARROW = 16
_FEW = 36  # taps times inputs that are summed one after another


def convolve(
  x: jax.Array, kernel: jax.Array, *, stride: Triple, padding: Padding3D, groups: int
) -> jax.Array:
  """`conv3d`; lower precisions are computed in float32."""
  dtype = at_least_float32(x.dtype)
  y = _convolve(x.astype(dtype), kernel.astype(dtype), stride, padding, groups)
  return y.astype(x.dtype)


def input_gradient(
  dy: jax.Array,
  kernel: jax.Array,
  *,
  size: Triple,
  stride: Triple,
  padding: Padding3D,
  groups: int,
) -> jax.Array:
  """[B, T', H', W', O], [kt, kh, kw, I / groups, O] -> [B, *size, I].

  Every s-th x along an axis, one phase of it, meets every s-th tap: a convolution of stride 1.
  """
  dtype = at_least_float32(dy.dtype)
  wide = dy.astype(dtype)
  flipped = _transposed(kernel.astype(dtype)[::-1, ::-1, ::-1] + zero_after(wide), groups)
  inputs = flipped.shape[-1]
  counts = tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
  phases = []
  for phase in itertools.product(*map(range, stride)):
    ends, taps = [], []
    for e, s, k, (p, _), count, n in zip(
      phase, stride, kernel.shape, padding, counts, dy.shape[1:4], strict=False
    ):
      first, tap = divmod(e + p, s)  # x[e + s q] meets dy[first + q - j] through tap + s j
      js = len(range(tap, k, s))
      ends.append((js - 1 - first, first + count - n))
      taps.append(slice((k - 1 - tap) % s, None if js else 0, s))
    if 0 in (taps_of_phase := flipped[tuple(taps)]).shape:  # between the taps of wide strides
      phases.append(jnp.zeros_like(wide, shape=(dy.shape[0], *counts, inputs)))
    else:
      phases.append(_convolve(wide, taps_of_phase, (1, 1, 1), tuple(ends), groups))
  if len(phases) == 1:
    return phases[0].astype(dy.dtype)
  x = jnp.stack(phases).reshape(*stride, dy.shape[0], *counts, inputs)
  x = x.transpose(3, 4, 0, 5, 1, 6, 2, 7)
  x = x.reshape(dy.shape[0], *(n * s for n, s in zip(counts, stride, strict=True)), inputs)
  return x[:, : size[0], : size[1], : size[2]].astype(dy.dtype)


def kernel_gradient(
  x: jax.Array, dy: jax.Array, *, size: Triple, stride: Triple, padding: Padding3D, groups: int
) -> jax.Array:
  """[B, T, H, W, I], [B, T', H', W', O] -> [*size, I / groups, O]."""
  dtype = at_least_float32(x.dtype)
  wide, dy = x.astype(dtype), dy.astype(dtype)
  if size != (1, 1, 1) or stride != (1, 1, 1):
    wide = wide + zero_after(dy)
  if groups == 1:
    gradient = _kernel_gradient(wide, dy, size, stride, padding)
  elif groups == x.shape[-1] == dy.shape[-1]:
    gradient = kernel_gradient_depthwise(wide, dy, size, stride, padding)
  else:
    each = lambda parts: _kernel_gradient(*parts, size, stride, padding)
    gradient = _joined(lax.map(each, (_split(wide, groups), _split(dy, groups))))
  return gradient.astype(x.dtype)


def _convolve(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D, groups: int
) -> jax.Array:
  if groups == 1:
    return _dense(x, kernel, stride, padding)
  if groups == x.shape[-1] == kernel.shape[-1]:
    return convolve_depthwise(x, kernel, stride, padding)
  each = lambda parts: _dense(*parts, stride, padding)
  return _joined(lax.map(each, (_split(x, groups), _split(kernel, groups))))


def _dense(x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D) -> jax.Array:
  size, (inputs, outputs) = kernel.shape[:3], kernel.shape[3:]
  if size[1:] == (1, 1):
    return _over_time(x, kernel, stride, padding)
  if math.prod(kernel.shape[:-1]) <= _FEW:
    return convolve_few(x, kernel, stride, padding)
  if outputs < _NARROW and size[0] > 1 and stride[0] == 1:
    return convolve_space(x, kernel, stride, padding, apart=True)
  if size[2] > 1 and (outputs < _NARROW or (inputs < _NARROW and outputs < 2 * _NARROW)):
    return convolve_beside(x, kernel, stride, padding)
  if _few_products(x.shape[0], out_size(x, size, stride, padding), kernel.shape, stride):
    return convolve_tiles(x, kernel, padding)
  if inputs < _NARROW:
    return convolve_space(x, kernel, stride, padding)
  return convolve_patches(x, kernel, stride, padding)


def _kernel_gradient(
  x: jax.Array, dy: jax.Array, size: Triple, stride: Triple, padding: Padding3D
) -> jax.Array:
  if size == (1, 1, 1):
    x = pad3d(x, padding)[:, :: stride[0], :: stride[1], :: stride[2]]
    x, dy = (a.reshape(-1, a.shape[-1]) for a in (x, dy))
    return lax.dot_general(x, dy, (((0,), (0,)), ((), ())))[None, None, None]
  outputs = dy.shape[-1]
  if size[1:] == (1, 1) and stride[0] == 1:
    # All taps are columns of one product: 1024 -> 256 at 8x14x14 and batch 4, 28 ms for 60 ms.
    (front, _), more = padding[0], x.shape[1] - dy.shape[1]
    x = pad3d(x, ((0, 0), *padding[1:]))[:, :, :: stride[1], :: stride[2]]
    shifts = (t - front for t in range(size[0]))
    dy = jnp.stack([pad3d(dy, ((t, more - t), (0, 0), (0, 0))) for t in shifts], -2)
    taps = jnp.tensordot(x.reshape(-1, x.shape[-1]), dy.reshape(-1, *dy.shape[-2:]), (0, 0))
    return taps.swapaxes(0, 1)[:, None, None]
  if outputs < _NARROW and size[0] > 1 and stride[0] == 1:
    return kernel_gradient_frames(x, dy, size, stride, padding)
  if outputs < _NARROW and size[2] > 1:
    return kernel_gradient_beside(x, dy, size, stride, padding)
  if _few_products(x.shape[0], dy.shape[1:4], (*size, x.shape[-1], dy.shape[-1]), stride):
    return kernel_gradient_tiles(x, dy, size, padding)
  return kernel_gradient_patches(x, dy, size, stride, padding)


def _few_products(batch: int, out: Triple, kernel: tuple[int, ...], stride: Triple) -> bool:
  many = batch * out[0] * out[1] * out[2] >= _MANY * max(kernel[3:])
  return stride == (1, 1, 1) and kernel[1:3] == (3, 3) and min(kernel[3:]) >= _WIDE and many


def _over_time(x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D) -> jax.Array:
  """A kernel of 1x1 over space: a two-dimensional convolution over T and all of H W.

  3x1x1, 144 -> 64 at 16x56x56: 8 ms, by patches 20 ms.
  """
  if kernel.shape[0] == 1:
    return pad3d(x, padding)[:, :: stride[0], :: stride[1], :: stride[2]] @ kernel[0, 0, 0]
  x = pad3d(x, ((0, 0), *padding[1:]))[:, :, :: stride[1], :: stride[2]]
  batch, _, height, width, inputs = x.shape
  y = convolve_planes(
    x.reshape(batch, -1, height * width, inputs),
    kernel[:, :, 0],
    (stride[0], 1),
    (padding[0], (0, 0)),
  )
  return y.reshape(batch, -1, height, width, kernel.shape[-1])


def _split(x: jax.Array, groups: int) -> jax.Array:
  """[..., C] -> [groups, ..., C / groups]."""
  return jnp.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -2, 0)


def _joined(x: jax.Array) -> jax.Array:
  """[groups, ..., C / groups] -> [..., C]."""
  x = jnp.moveaxis(x, 0, -2)
  return x.reshape(*x.shape[:-2], -1)


def _transposed(kernel: jax.Array, groups: int) -> jax.Array:
  """[..., I / groups, O] -> [..., O / groups, I]."""
  return _joined(_split(kernel, groups).swapaxes(-1, -2))
