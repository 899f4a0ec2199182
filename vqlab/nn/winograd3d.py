"""3D convolutions with 3x3 taps over space as fewer products: Winograd's F(4x4, 3x3).

    Y = A' [(G g G') * (B' d B)] A      d 6x6 inputs, g 3x3 taps, Y 4x4 outputs of a tile

A tile costs 36 products for 144. A frame is transformed once for all taps over time, which are
summed before the transform back; or, where channels are few, two frames and three taps over time
are transformed as well, F(2x4x4, 3x3x3), which makes 144 products for 216. The kernel's gradient is
made of the first. The points of the transforms are 0, +-2/3, +-3/2 and infinity: with the usual 0,
+-1, +-2 the errors were 1.7 times as large in the mean and 4 times at most. The largest, at
64 -> 64, is 1.6e-5 of the outputs' standard deviation, by pairs of frames 1.1e-5; that of patches
0.4e-5. (Lavin and Gray 2016, arXiv 1509.09308; Toom-Cook.)
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vqlab.nn.patches3d import (
  Padding3D,
  Triple,
  divisor,
  out_size,
  pad3d,
  part_of,
  zero_after,
  zeros_after,
)


def _transforms(outputs: int, points: Sequence[float]) -> tuple[np.ndarray, ...]:
  """A, G and B for that many outputs and three taps."""

  def values(terms: int) -> np.ndarray:
    """Those of polynomials at the points, and the highest coefficient."""
    finite = [[point**power for power in range(terms)] for point in points]
    return np.array([*finite, [0] * (terms - 1) + [1]], np.float64)

  return values(outputs), values(3), np.linalg.inv(values(len(points) + 1))


_A, _G, _B = _transforms(4, (0, 2 / 3, -2 / 3, 3 / 2, -3 / 2))
_A2, _G2, _B2 = _transforms(2, (0, 1, -1))

# The tiles of a block have that many numbers, 2 MiB, or are those of one frame.
_NUMBERS = 2**19
# By pairs of frames: channels at most, as there are more taps to read (128 -> 256 at 8x28x28 took
# 13 ms for 10 ms), and the numbers of a block before and after its products, 16 MiB.
_PAIRS = 128
_PAIR_NUMBERS = 2**22


def convolve_tiles(x: jax.Array, kernel: jax.Array, padding: Padding3D) -> jax.Array:
  """The convolution of stride 1: [B, T, H, W, I], [kt, 3, 3, I, O] -> [B, T', H', W', O]."""
  kt, inputs, outputs, batch = kernel.shape[0], *kernel.shape[3:], x.shape[0]
  out = out_size(x, kernel.shape[:3], (1, 1, 1), padding)
  if kt == 3 and out[0] % 2 == 0 and max(inputs, outputs) <= _PAIRS:
    return _convolve_pairs(x, kernel, out, padding)
  x, (h, w) = _padded(x, out, padding)
  frames = _frames(x, kt, out)
  taps = _taps(kernel).reshape(36, kt * inputs, outputs)

  def step(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    y, before = carry
    tiles, before = _tiles(x, before, i, kt, frames)
    products = jnp.einsum("pni,pio->pno", tiles, taps)
    part = _outputs(products.reshape(36, batch, frames, h, w, outputs))[:, :, : out[1], : out[2]]
    return lax.dynamic_update_slice_in_dim(y, part, i * frames, 1), before

  start = zeros_after(x, (batch, *out, outputs)), _inputs(x[:, : kt - 1])
  return lax.fori_loop(0, out[0] // frames, step, start)[0]


def _convolve_pairs(x: jax.Array, kernel: jax.Array, out: Triple, padding: Padding3D) -> jax.Array:
  """Two frames at a time and all three taps over time, or some rows of their tiles.

  64 -> 64 at 16x56x56: 16 ms, frame by frame 21 ms, by patches 45 ms.
  """
  (inputs, outputs), batch = kernel.shape[3:], x.shape[0]
  x, (h, w) = _padded(x, out, padding)
  rows = divisor(h, _PAIR_NUMBERS // (144 * batch * w * (inputs + outputs)))
  across = h // rows
  taps = _taps(kernel)
  taps = jnp.stack(_mix(_G2, [taps[:, t] for t in range(3)]), 1).reshape(144, inputs, outputs)

  def step(i: jax.Array, y: jax.Array) -> jax.Array:
    t, row = 2 * lax.div(i, across), 4 * rows * lax.rem(i, across)
    part = part_of(x, (t, 4), (row, 4 * rows + 2))
    tiles = _inputs(jnp.stack(_mix(_B2.T, [part[:, t] for t in range(4)])))
    products = jnp.einsum("pni,pio->pno", tiles.reshape(144, -1, inputs), taps)
    products = products.reshape(36, 4, batch, rows, w, outputs)
    part = _outputs(jnp.stack(_mix(_A2.T, [products[:, t] for t in range(4)]), 2))
    return lax.dynamic_update_slice(y, part[:, :, :, : out[2]], (0, t, row, 0, 0))

  y = zeros_after(x, (batch, out[0], 4 * h, out[2], outputs))
  return lax.fori_loop(0, out[0] // 2 * across, step, y)[:, :, : out[1]]


def kernel_gradient_tiles(
  x: jax.Array, dy: jax.Array, size: Triple, padding: Padding3D
) -> jax.Array:
  """The kernel's gradient: [B, T, H, W, I], [B, T', H', W', O] -> [kt, 3, 3, I, O]."""
  kt, inputs, outputs, out = size[0], x.shape[-1], dy.shape[-1], dy.shape[1:4]
  x, (h, w) = _padded(x, out, padding)
  frames = _frames(x, kt, out)
  dy = pad3d(dy, ((0, 0), (0, 4 * h - out[1]), (0, 4 * w - out[2])))

  def step(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    total, before = carry
    tiles, before = _tiles(x, before, i, kt, frames)
    part = part_of(dy, (i * frames, frames))
    part = part.reshape(-1, h, 4, w, 4, outputs)
    rows = jnp.stack(_mix(_A, [part[:, :, p] for p in range(4)]))
    part = jnp.stack(_mix(_A, [rows[:, :, :, :, q] for q in range(4)])).reshape(36, -1, outputs)
    return total + jnp.einsum("pni,pno->pio", tiles, part), before

  start = jnp.full((36, kt * inputs, outputs), zero_after(x)), _inputs(x[:, : kt - 1])
  total, _ = lax.fori_loop(0, out[0] // frames, step, start)
  taps = jnp.stack(_mix(_G.T, list(total.reshape(6, 6, kt, inputs, outputs))), 2)
  return jnp.stack(_mix(_G.T, list(taps)), 1)


def _padded(x: jax.Array, out: Triple, padding: Padding3D) -> tuple[jax.Array, tuple[int, int]]:
  """x, padded so that tiles fill it, and the tiles along H and W."""
  h, w = -(-out[1] // 4), -(-out[2] // 4)
  (top, bottom), (left, right) = padding[1:]
  fill = (top, bottom + 4 * h - out[1]), (left, right + 4 * w - out[2])
  return pad3d(x, (padding[0], *fill)), (h, w)


def _frames(x: jax.Array, kt: int, out: Triple) -> int:
  """The frames of a block."""
  batch, _, height, width, inputs = x.shape
  return divisor(out[0], _NUMBERS // (36 * kt * batch * (height // 4) * (width // 4) * inputs))


def _taps(kernel: jax.Array) -> jax.Array:
  """[kt, 3, 3, I, O] -> [36, kt, I, O]."""
  rows = jnp.stack(_mix(_G, [kernel[:, i] for i in range(3)]))
  taps = jnp.stack(_mix(_G, [rows[:, :, j] for j in range(3)]))
  return taps.reshape(36, *taps.shape[2:])


def _tiles(
  x: jax.Array, before: jax.Array, i: jax.Array, kt: int, frames: int
) -> tuple[jax.Array, jax.Array]:
  """The tiles of the i-th block for all taps over time, [36, B T' h w, kt I].

  `before` are the tiles of the kt - 1 frames before the block's last ones; the next block's follow.
  """
  new = _inputs(part_of(x, (i * frames + kt - 1, frames)))
  if kt == 1:
    return new.reshape(36, -1, new.shape[-1]), before
  tiles = jnp.concatenate([before, new], 2)
  taps = jnp.concatenate([tiles[:, :, t : t + frames] for t in range(kt)], -1)
  return taps.reshape(36, -1, taps.shape[-1]), tiles[:, :, frames:]


def _inputs(x: jax.Array) -> jax.Array:
  """[..., 4h + 2, 4w + 2, C] -> [36, ..., h w, C]."""
  *more, height, width, channels = x.shape
  rows = jnp.stack(_mix(_B.T, [x[..., i : height + i - 5 : 4, :, :] for i in range(6)]))
  tiles = jnp.stack(_mix(_B.T, [rows[..., j : width + j - 5 : 4, :] for j in range(6)]))
  return tiles.reshape(36, *more, height // 4 * (width // 4), channels)


def _outputs(products: jax.Array) -> jax.Array:
  """[36, B, T', h, w, O] -> [B, T', 4h, 4w, O]."""
  _, batch, frames, h, w, outputs = products.shape
  columns = jnp.stack(_mix(_A.T, list(products.reshape(6, 6, *products.shape[1:]))), -2)
  columns = columns.reshape(6, batch, frames, h, 4 * w, outputs)
  rows = jnp.stack(_mix(_A.T, list(columns)), 3)
  return rows.reshape(batch, frames, 4 * h, 4 * w, outputs)


def _mix(matrix: np.ndarray, terms: Sequence[jax.Array]) -> list[jax.Array]:
  """The product of a small matrix with a list of arrays."""
  return [
    sum(float(c) * term for c, term in zip(row, terms, strict=True) if abs(c) > 1e-9)
    for row in matrix
  ]
