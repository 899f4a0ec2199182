"""Pools over clips [B, T, H, W, C], and their lowering by platform.

XLA's CPU gradient of a pool looks for every window's maximum again, element by element: 192 ms on
two cores for 3x3x3 windows over 16x28x28x192, here 35 ms. Here the maximum is taken along W, then
H, then T, of shifted inputs, and the gradient goes back the same way. Of equal values in a window
the first one takes it all, in the order of T, H and W, as with XLA and PyTorch: the first frame
that holds the maximum, in it the first row, in that the first column.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vqlab.nn.checks import windows_fit
from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.patches3d import Padding3D, Triple, alone, out_size, pad3d, taps_of, zero_after


def max_pool3d(x: jax.Array, window: Triple, *, stride: Triple, padding: Padding3D) -> jax.Array:
  """The greatest of each window: [B, T, H, W, C] -> [B, T', H', W', C].

  It keeps x for its gradient, no more, and has no forward-mode derivative.

  Args:
    x: [B, T, H, W, C], floating point.
    window, stride: of T, H and W.
    padding: positions before and after T, H and W that are less than any other.

  Raises:
    ValueError: the window is longer than the padded clip.
  """
  windows_fit("max_pool3d", x.shape[1:4], window, padding)
  return _pool(x, tuple(window), tuple(stride), tuple(map(tuple, padding)))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _pool(x: jax.Array, window: Triple, stride: Triple, padding: Padding3D) -> jax.Array:
  def on_cpu(x: jax.Array) -> jax.Array:
    # With strides, axis after axis would be copies: 8 ms for 2 ms, 1x3x3 of 2 over 8x112x112x64.
    if any(1 < s < k for s, k in zip(stride, window, strict=True)):
      out = out_size(x, window, stride, padding)
      greatest = lambda x: reduce(jnp.maximum, taps_of(x, window, stride, out))
      return alone(greatest, pad3d(x, padding, -jnp.inf))
    for axis in (1, 2, 3):
      x = reduce(jnp.maximum, _taps(x, axis, window, stride, padding))
    return x

  return lax.platform_dependent(x, cpu=on_cpu, default=partial(_plain, window, stride, padding))


def _forward(
  x: jax.Array, window: Triple, stride: Triple, padding: Padding3D
) -> tuple[jax.Array, jax.Array]:
  return _pool(x, window, stride, padding), x


def _backward(
  window: Triple, stride: Triple, padding: Padding3D, x: jax.Array, dy: jax.Array
) -> tuple[jax.Array]:
  def on_cpu(x: jax.Array, dy: jax.Array) -> jax.Array:
    steps, dtype = [], x.dtype
    x = x + zero_after(dy)
    for axis in (3, 2, 1):
      length = x.shape[axis]
      x, first = _max_and_first(x, axis, window, stride, padding)
      steps.append((axis, length, first))
    dy = dy.astype(at_least_float32(dtype))
    for axis, length, first in reversed(steps):
      dy = _to_first(dy, first, length, axis, window, stride, padding)
    return dy.astype(dtype)

  default = lambda x, dy: jax.vjp(partial(_plain, window, stride, padding), x)[1](dy)[0]
  return (lax.platform_dependent(x, dy, cpu=on_cpu, default=default),)


_pool.defvjp(_forward, _backward)


def _plain(window: Triple, stride: Triple, padding: Padding3D, x: jax.Array) -> jax.Array:
  full = lambda values: (1, *values, 1)
  pads = ((0, 0), *padding, (0, 0))
  # A number, not an array: JAX knows the gradient of a maximum by it.
  return lax.reduce_window(x, -np.inf, lax.max, full(window), full(stride), pads)


def _taps(
  x: jax.Array, axis: int, window: Triple, stride: Triple, padding: Padding3D
) -> list[jax.Array]:
  """What each place in the windows along one axis sees."""
  k, s, ends = window[axis - 1], stride[axis - 1], padding[axis - 1]
  x = _padded(x, axis, ends, -jnp.inf)
  span = (x.shape[axis] - k) // s * s + 1
  return [lax.slice_in_dim(x, j, j + span, s, axis) for j in range(k)]


def _max_and_first(
  x: jax.Array, axis: int, window: Triple, stride: Triple, padding: Padding3D
) -> tuple[jax.Array, jax.Array]:
  """The maxima along one axis, and the place of the first of each in its window."""
  greatest, *others = _taps(x, axis, window, stride, padding)
  # Where all is -inf, not the padding.
  inside = np.maximum(padding[axis - 1][0] - np.arange(greatest.shape[axis]) * stride[axis - 1], 0)
  shape = [-1 if a == axis else 1 for a in range(x.ndim)]
  first = jnp.broadcast_to(jnp.asarray(inside.reshape(shape), jnp.int8), greatest.shape)
  for j, tap in enumerate(others, 1):
    first = jnp.where(tap > greatest, jnp.int8(j), first)
    greatest = jnp.maximum(greatest, tap)
  return greatest, first


def _to_first(
  dy: jax.Array,
  first: jax.Array,
  length: int,
  axis: int,
  window: Triple,
  stride: Triple,
  padding: Padding3D,
) -> jax.Array:
  """Each gradient at the place it belongs to along one axis; every s-th x is one phase."""
  k, s, (p, _) = window[axis - 1], stride[axis - 1], padding[axis - 1]
  count = -(-length // s)
  phases = []
  for phase in range(s):
    start, tap = divmod(phase + p, s)  # x[phase + s q] is in the window start + q - j, at tap + s j
    places = range(tap, k, s)
    ends = max(len(places) - 1 - start, 0), max(start + count - dy.shape[axis], 0)
    padded, chosen = _padded(dy, axis, ends, 0), _padded(first, axis, ends, -1)
    total = 0
    for j, place in enumerate(places):
      at = ends[0] + start - j
      part, of = (lax.slice_in_dim(a, at, at + count, 1, axis) for a in (padded, chosen))
      total = total + jnp.where(of == place, part, 0)
    if not places:  # between windows
      shape = (*dy.shape[:axis], count, *dy.shape[axis + 1 :])
      total = jnp.zeros_like(dy, shape=shape)
    phases.append(total)
  if s == 1:
    return phases[0]
  x = jnp.stack(phases, axis + 1)
  x = x.reshape(*x.shape[:axis], count * s, *x.shape[axis + 2 :])
  return lax.slice_in_dim(x, 0, length, 1, axis)


def _padded(x: jax.Array, axis: int, ends: tuple[int, int], value: float) -> jax.Array:
  pads = [(*ends, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
  return lax.pad(x, jnp.asarray(value, x.dtype), pads)
