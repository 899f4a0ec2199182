"""Plain convolutions with 1, 2, 3 or 5 taps a side as fewer products: Winograd's minimal filtering.

    F(2, 3)   y0 = m0 + m1 + m2    m0 = (d0 - d2) g0    m1 = (d1 + d2) (g0 + g1 + g2) / 2
              y1 = m1 - m2 - m3    m3 = (d1 - d3) g2    m2 = (d2 - d1) (g0 - g1 + g2) / 2
    F(2, 2)   y0 = m0 + m1         m0 = (d0 - d1) g0    m1 = d1 (g0 + g1)
              y1 = m1 + m2         m2 = (d2 - d1) g1

Two outputs next to each other cost 4 products for 6, or 3 for 4; used along rows and columns, a 3x3
kernel costs 16 for 36, a 2x2 kernel 9 for 16, with sums around them that are small where there are
many channels. (Lavin and Gray 2016, arXiv 1509.09308.) 5 taps are taken as 3 and 2, a single one as
it is. Each of the 16 or 9 is one matrix product over all tiles, and so are its gradients. On a CPU
core that took 0.6 of the time of XLA's convolution, which runs at the rate of its matrix products
(with gradients 0.73 at 3x5 and 0.70 at 1x3, 8x32x32x128 -> 256); errors are about the same. The
price is memory, as gradients keep the tiles: four layers of 3x5 on 8x32x32x128 take 172 MiB for 40.
"""

import jax
import jax.numpy as jnp


def _inputs(d: list[jax.Array]) -> list[jax.Array]:
  if len(d) == 1:
    return d
  if len(d) == 3:
    return [d[0] - d[1], d[1], d[2] - d[1]]
  if len(d) == 4:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]
  return _inputs(d[:4]) + _inputs(d[3:])


def _taps(g: list[jax.Array]) -> list[jax.Array]:
  if len(g) == 1:
    return g
  if len(g) == 2:
    return [g[0], g[0] + g[1], g[1]]
  if len(g) == 3:
    return [g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]]
  return _taps(g[:3]) + _taps(g[3:])


def _outputs(m: list[jax.Array]) -> list[jax.Array]:
  if len(m) == 1:
    return m
  if len(m) == 3:
    return [m[0] + m[1], m[1] + m[2]]
  if len(m) == 4:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
  return [a + b for a, b in zip(_outputs(m[:4]), _outputs(m[4:]), strict=True)]


def winograd(
  x: jax.Array, kernel: jax.Array, padding: tuple[tuple[int, int], tuple[int, int]]
) -> jax.Array:
  """The convolution of stride 1: [B, H, W, C], [kh, kw, C, O] -> [B, H', W', O]."""
  kh, kw, C, O = kernel.shape
  height, width = (
    n + sum(ends) - k + 1 for n, k, ends in zip(x.shape[1:3], (kh, kw), padding, strict=True)
  )
  p, q = min(kh, 2), min(kw, 2)  # a tile's outputs; the last tile may hold one of no use
  h, w = -(-height // p), -(-width // q)
  (top, bottom), (left, right) = padding
  x = jnp.pad(x, ((0, 0), (top, bottom + height % p), (left, right + width % q), (0, 0)))
  rows = _inputs([x[:, i : i + p * (h - 1) + 1 : p] for i in range(kh + p - 1)])
  products = []
  for row, taps in zip(rows, _taps(list(kernel)), strict=True):
    tiles = _inputs([row[:, :, j : j + q * (w - 1) + 1 : q] for j in range(kw + q - 1)])
    products.append([t.reshape(-1, C) @ g for t, g in zip(tiles, _taps(list(taps)), strict=True)])
  columns = [_outputs(list(m)) for m in zip(*products, strict=True)]  # rows for each column
  y = jnp.stack([jnp.stack(_outputs(list(m)), 1) for m in zip(*columns, strict=True)], 1)
  y = y.reshape(x.shape[0], h, w, p, q, O).transpose(0, 1, 3, 2, 4, 5)
  return y.reshape(x.shape[0], p * h, q * w, O)[:, :height, :width]
