"""3D convolutions as matrix products over patches, a block of outputs at a time.

The patch of an output is all that its taps meet, [kt kh kw I]; the product of the patches with the
kernel [kt kh kw I, O] is the convolution, and that of the patches with the gradients of the outputs
the kernel's gradient. Patches of a whole clip take as many times its memory as there are taps;
those of a block stay in the cache. A block has rows of frames of all clips, so that a batch that is
sharded over devices stays so.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Triple = tuple[int, int, int]
Padding3D = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

# A block's patches have that many numbers, 4 MiB: 3x7x7, 3 -> 64 took 26 ms, with 2**16 42 ms. But
# a product of few rows waits for the kernel: 512 -> 512 at 2x7x7 took 5.1 ms by blocks of 49 rows,
# 4.5 ms at once.
_NUMBERS = 2**20
_ROWS = 256


def pad3d(x: jax.Array, padding: Padding3D, value: float = 0.0) -> jax.Array:
  """A value around T, H and W of [B, T, H, W, C]; less than none cut off."""
  ends = [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)]
  return lax.pad(x, jnp.asarray(value, x.dtype), ends)


def zero_after(x: jax.Array) -> jax.Array:
  """A zero that XLA does not know before it has x.

  Without it XLA for CPUs, which drops barriers, begins a program with whatever needs no activation:
  the starts of all loops, the kernels of all gradients turned round. And it pads for a gradient
  when the forward pass has x. All that waits in memory: 600 MiB for SlowFast 8x8 R50.
  """
  return _zero(x[tuple(n // 2 for n in x.shape)])  # the middle: XLA knows the padding


def zeros_after(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Zeros [B, T', H', W', C] for what a loop makes of x [B, ...], a clip's known after the clip."""
  return jnp.broadcast_to(_zero(x[:, *(slice(n // 2, n // 2 + 1) for n in x.shape[1:])]), shape)


def _zero(x: jax.Array) -> jax.Array:
  return jnp.where(x > 0, 0.0, -0.0).astype(x.dtype)


def out_size(x: jax.Array, kernel: Triple, stride: Triple, padding: Padding3D) -> Triple:
  """T', H' and W' of the convolution of x [B, T, H, W, C]."""
  lengths = zip(x.shape[1:4], kernel, stride, padding, strict=True)
  return tuple((n + sum(ends) - k) // s + 1 for n, k, s, ends in lengths)


def alone(f: Callable[..., jax.Array], x: jax.Array, *others: jax.Array) -> jax.Array:
  """f(x, *others) within a branch that is always taken.

  Otherwise XLA for CPUs would compute all of it anew for each of the result's readers.
  """
  shape = jax.eval_shape(f, x, *others).shape
  none = lambda x, *_: zeros_after(x, shape)
  return lax.cond(zero_after(x) == 0, f, none, x, *others)


def part_of(
  x: jax.Array,
  frames: tuple[jax.Array | int, int],
  rows: tuple[jax.Array | int, int] | None = None,
) -> jax.Array:
  """The frames and rows, each a start and how many, of x [B, T, H, W, C]: a dynamic slice.

  It stands within a branch that is always taken. Otherwise XLA for CPUs makes it a part of whatever
  reads it, which then loads the start again for each number and computes one number at a time:
  R3D-18 took 710 ms for four clips, 609 with the branch.
  """
  (t, length), (h, height) = frames, rows or (0, x.shape[2])
  size = x.shape[0], length, height, *x.shape[3:]
  cut = lambda x, t, h: lax.dynamic_slice(x, (0, t, h, 0, 0), size)
  none = lambda x, t, h: jnp.zeros_like(x[:, :length, :height])
  return lax.cond(t + h >= 0, cut, none, x, t, h)


def taps_of(x: jax.Array, kernel: Triple, stride: Triple, out: Triple) -> list[jax.Array]:
  """What each tap meets, [B, T', H', W', C], of x that is padded already."""
  (dt, dh, dw), (t, h, w) = stride, ((n - 1) * s + 1 for n, s in zip(out, stride, strict=True))
  return [
    x[:, i : i + t : dt, j : j + h : dh, k : k + w : dw]
    for i in range(kernel[0])
    for j in range(kernel[1])
    for k in range(kernel[2])
  ]


def convolve_patches(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D
) -> jax.Array:
  """The convolution: [B, T, H, W, I], [kt, kh, kw, I, O] -> [B, T', H', W', O]."""
  size, outputs = kernel.shape[:3], kernel.shape[-1]
  out = out_size(x, size, stride, padding)
  kernel = kernel.reshape(-1, outputs)
  blocks, block, patches = _blocks(x, size, stride, padding, out)
  if blocks == 1:
    return (patches(0) @ kernel).reshape(x.shape[0], *out, outputs)

  def step(i: jax.Array, y: jax.Array) -> jax.Array:
    part = (patches(i) @ kernel).reshape(x.shape[0], *block, outputs)
    return lax.dynamic_update_slice(y, part, (0, *_start(i, block, out), 0, 0))

  return lax.fori_loop(0, blocks, step, zeros_after(x, (x.shape[0], *out, outputs)))


def kernel_gradient_patches(
  x: jax.Array, dy: jax.Array, size: Triple, stride: Triple, padding: Padding3D
) -> jax.Array:
  """The kernel's gradient: [B, T, H, W, I], [B, T', H', W', O] -> [*size, I, O]."""
  inputs, out, outputs = x.shape[-1], dy.shape[1:4], dy.shape[-1]
  blocks, block, patches = _blocks(x, size, stride, padding, out)

  def step(i: jax.Array, total: jax.Array) -> jax.Array:
    first, row = _start(i, block, out)
    part = part_of(dy, (first, block[0]), (row, block[1])).reshape(-1, outputs)
    return total + lax.dot_general(patches(i), part, (((0,), (0,)), ((), ())))

  total = jnp.full((size[0] * size[1] * size[2] * inputs, outputs), zero_after(x))
  return lax.fori_loop(0, blocks, step, total).reshape(*size, inputs, outputs)


def _blocks(
  x: jax.Array, size: Triple, stride: Triple, padding: Padding3D, out: Triple
) -> tuple[int, Triple, Callable[[jax.Array], jax.Array]]:
  """The number of blocks, T', H' and W' of one, and the patches of the i-th, [B T' H' W', K]."""
  batch, inputs = x.shape[0], x.shape[-1]
  K = size[0] * size[1] * size[2] * inputs
  most = max(_NUMBERS // K, _ROWS) // (batch * out[2])  # rows of a frame
  rows = divisor(out[1], most)
  frames = divisor(out[0], most // rows) if rows == out[1] else 1
  block = frames, rows, out[2]
  x = pad3d(x, padding)
  t, h = ((n - 1) * s + k for n, s, k in zip(block, stride, size[:2], strict=False))

  def patches(i: jax.Array) -> jax.Array:
    first, row = _start(i, block, out)
    part = part_of(x, (first * stride[0], t), (row * stride[1], h))
    return jnp.concatenate(taps_of(part, size, stride, block), -1).reshape(-1, K)

  return out[0] // frames * (out[1] // rows), block, patches


def _start(i: jax.Array, block: Triple, out: Triple) -> tuple[jax.Array, jax.Array]:
  """The i-th block's first frame and row of the outputs."""
  across = out[1] // block[1]
  return lax.div(i, across) * block[0], lax.rem(i, across) * block[1]


def divisor(n: int, most: int) -> int:
  """The greatest divisor of n that is not above `most`; 1 if that is less."""
  return max(d for d in range(1, n + 1) if n % d == 0 and (d <= most or d == 1))
