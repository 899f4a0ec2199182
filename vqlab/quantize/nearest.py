"""Nearest-code lookup: vectors in, codes out.

For z in R^D and a codebook e_1 .. e_K, VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937) keeps

    index = argmin_k |z - e_k|^2 = argmin_k |e_k|^2 / 2 - z . e_k,      codes = e_index

where the second form drops |z|^2, which no k changes, and so costs one matrix product. The
products are taken over a few codes at a time, so the N x K scores never exist at once.

Shapes: ... any leading axes, N their product, K codes, D code dimension.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.nn.dtypes import at_least_float32
from vqlab.quantize import checks
from vqlab.quantize.estimators import Estimator, straight_through

Metric = Literal["euclidean", "cosine"]

# Scores held at once: what fits a CPU's cache, and what fills an accelerator (64 MiB in float32).
_SCORES_ON_CPU = 2**20
_SCORES_ELSEWHERE = 2**24


class Quantized(NamedTuple):
  """What every quantizer returns. Where a mask is False: zeros, and the index -1."""

  vectors: (
    jax.Array
  )  # [..., D]  in z's dtype; what the decoder reads, with the estimator's gradient
  codes: jax.Array  # [..., D]  in the codebook's dtype; codebook[indices], differentiable in it
  indices: jax.Array  # i32[...]


def quantize(
  z: jax.Array,
  codebook: jax.Array,
  *,
  mask: jax.Array | None = None,
  metric: Metric = "euclidean",
  estimator: Estimator = straight_through,
  chunk_size: int | None = None,
) -> Quantized:
  """Replaces every vector by its nearest code.

  Args:
    z: [..., D], floating point.
    codebook: [K, D].
    mask: bool[...]; vectors where it is False get zeros and the index -1, and no gradient.
    metric: what "nearest" means: the euclidean distance, or the largest cosine similarity.
    estimator: (z, codes) -> vectors, which decides what gradient reaches z.
    chunk_size: codes compared at once (see `assign`); it never changes the indices.

  Raises:
    ValueError: shapes do not agree, or a dtype is not the kind needed.
  """
  z = jnp.asarray(z)  # NumPy's float64 may be none here
  indices = assign(z, codebook, mask=mask, metric=metric, chunk_size=chunk_size)
  codes = lookup(codebook, indices)
  if mask is None:
    return Quantized(estimator(z, codes), codes, indices)
  # NaN times a zero gradient is NaN: masked vectors must not enter the estimator at all.
  vectors = estimator(jnp.where(mask[..., None], z, 0), codes)
  return Quantized(jnp.where(mask[..., None], vectors, 0), codes, indices)


def assign(
  z: jax.Array,
  codebook: jax.Array,
  *,
  mask: jax.Array | None = None,
  metric: Metric = "euclidean",
  chunk_size: int | None = None,
) -> jax.Array:
  """The index of each vector's nearest code, i32[...]; the lowest one on ties, -1 where masked.

  Computed in float32 at least, at the highest matmul precision, whatever z's dtype; no gradient.
  What counts is the codes' spread, not an offset that they share, nor their scale (in float32 from
  1e-30 to 1e30, and all within 1e28 of each other).
  A code that is not finite is never chosen; a vector that is not finite gets the index 0.
  Only `chunk_size` codes (default: by platform and N) are compared at once, so memory is
  O(N * chunk_size). Every such slice spans all N vectors: an N sharded over devices stays so.

  Args, raises: see `quantize`.
  """
  z, codebook = checks.vectors("assign", z, codebook)
  checks.mask("assign", mask, z.shape[:-1])
  if metric not in ("euclidean", "cosine"):
    raise ValueError(f"assign: metric is {metric!r}; it must be 'euclidean' or 'cosine'")
  if chunk_size is not None and chunk_size < 1:
    raise ValueError(f"assign: chunk_size is {chunk_size}; it must be at least 1")

  indices = _assign(lax.stop_gradient(z), lax.stop_gradient(codebook), metric, chunk_size)
  return indices if mask is None else jnp.where(mask, indices, -1)


@partial(jax.jit, static_argnums=(2, 3))  # so that calls outside jit compile once, too
def _assign(z: jax.Array, codebook: jax.Array, metric: Metric, chunk_size: int | None) -> jax.Array:
  dtype = at_least_float32(z.dtype, codebook.dtype)
  e = codebook.astype(dtype)
  flat = z.reshape(-1, z.shape[-1]).astype(dtype)
  if metric == "cosine":
    linear = _cosine
  else:
    # About a centre among the codes: what all of them share would drown what tells them apart.
    finite = jnp.where(jnp.isfinite(e), e, jnp.nan)
    some = jnp.sort(finite[:: -(-len(e) // 16)], axis=0)  # NaN comes last
    centre = jnp.nan_to_num(some[None, (len(some) - 1) // 2])  # a median of 16 or fewer
    flat = flat - centre
    unit = 2 ** (2 + e.shape[1].bit_length()) * _power_of_two(jnp.nanmax(jnp.abs(finite)))
    linear = partial(_euclidean, centre=centre, unit=unit)

  def argmin(scores: int, bias_inside: bool) -> Callable:
    chunk = chunk_size or _chunk(flat.shape[0], scores)
    return lambda z, e: _argmin(z, e, linear, chunk, bias_inside)

  indices = lax.platform_dependent(
    flat, e, cpu=argmin(_SCORES_ON_CPU, True), default=argmin(_SCORES_ELSEWHERE, False)
  )
  return indices.reshape(z.shape[:-1])


# Codes e [k, D] -> w [k, D + 1], of which the nearest has the least [z, 1] . w. All of a w but the
# last is at most 1 / 2D, so that this is finite wherever z is.
Linear = Callable[[jax.Array], jax.Array]


def _euclidean(e: jax.Array, centre: jax.Array, unit: jax.Array) -> jax.Array:
  """|e - c|^2 / 2 - z . (e - c), scaled; z has lost c already."""
  e = e - centre
  w = e / -unit
  return jnp.concatenate([w, -0.5 * jnp.sum(w * e, axis=1, keepdims=True)], axis=1)


def _cosine(e: jax.Array) -> jax.Array:
  """-z . e / |e|, scaled; a code of zeros is orthogonal to everything."""
  e = e / _power_of_two(jnp.max(jnp.abs(e), axis=1, keepdims=True))  # or squares would overflow
  norm = jnp.linalg.norm(e, axis=1, keepdims=True)
  return jnp.pad(e / jnp.where(norm > 0, -2 * e.shape[1] * norm, 1), ((0, 0), (0, 1)))


def _power_of_two(x: jax.Array) -> jax.Array:
  """The least 2^n above x, within [1e-36, 1e36]: dividing by it rounds nothing."""
  x = jnp.clip(x, 1e-36, 1e36)
  return x / jnp.frexp(x)[0]


def lookup(codebook: jax.Array, indices: jax.Array) -> jax.Array:
  """codebook[indices], [..., D]: the vectors of a map of codes; zeros where an index is -1.

  Args:
    codebook: [K, D].
    indices: int[...], each in [-1, K); one above takes the last code.

  Raises:
    ValueError: the codebook has another rank, or the indices are no integers.
  """
  codebook, indices = jnp.asarray(codebook), jnp.asarray(indices)
  if codebook.ndim != 2 or not jnp.issubdtype(indices.dtype, jnp.integer):
    raise ValueError(
      "lookup: takes a codebook [K, D] and integer indices; "
      f"found {codebook.dtype}{list(codebook.shape)} and {indices.dtype}{list(indices.shape)}"
    )
  indices = indices.astype(jnp.int32)  # small ones could not be compared with K
  # In float32 at least, so that the gradient of a code used often adds up without loss.
  wide = codebook.astype(at_least_float32(codebook.dtype))
  codes = jnp.where(indices[..., None] >= 0, wide[jnp.maximum(indices, 0)], 0)
  return codes.astype(codebook.dtype)


def _chunk(num_vectors: int, scores: int) -> int:
  if not isinstance(num_vectors, int):  # symbolic, in an export
    num_vectors = 4096
  return max(16, scores // max(num_vectors, 1))


def _argmin(z: jax.Array, e: jax.Array, linear: Linear, chunk: int, bias_inside: bool) -> jax.Array:
  """argmin_k [z, 1] . w_k as i32[N], `chunk` codes at a time.

  bias_inside: the product adds the last of w as well: a pass over the scores less, but D + 1 does
    not fit an accelerator's tiles where D does.
  """
  num_codes, dim = e.shape
  if bias_inside:
    z = jnp.pad(z, ((0, 0), (0, 1)), constant_values=1)
  chunk = min(chunk, num_codes)
  e = jnp.pad(e, ((0, -num_codes % chunk), (0, 0)), constant_values=jnp.nan)
  starts = jnp.arange(0, num_codes, chunk, dtype=jnp.int32)
  # A code that is not finite is nobody's nearest. Not infinitely far, or products done in several
  # parts would be NaN.
  nowhere = jnp.zeros((1, dim + 1), z.dtype).at[0, -1].set(0.25 * jnp.finfo(z.dtype).max)

  def step(best, xs):
    score, index = best
    e, start = xs
    w = jnp.where(jnp.all(jnp.isfinite(e), axis=1, keepdims=True), linear(e), nowhere)
    scores = jnp.matmul(z, w[:, : z.shape[1]].T, precision=lax.Precision.HIGHEST)
    scores = scores if bias_inside else scores + w[None, :, -1]
    least = jnp.min(scores, axis=-1)
    # Two plain reductions: XLA's own argmin is several times slower on CPU.
    position = lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    first = jnp.min(jnp.where(scores == least[:, None], position, chunk - 1), axis=-1)
    # Strictly: on ties the lower index stays. All scores of a vector that is not finite are NaN or
    # infinite, and it keeps the index 0.
    closer = (least < score) & (least > -jnp.inf)
    return (jnp.where(closer, least, score), jnp.where(closer, start + first, index)), None

  # Selects that depend on z and e, so that the carry varies over their mesh axes under shard_map
  # (`vary_like` would fetch the first number of a z that is sharded, or empty).
  some = z[:, 0] > e[0, 0]
  init = (jnp.where(some, jnp.inf, jnp.inf).astype(z.dtype), jnp.where(some, 0, 0))
  (_, index), _ = lax.scan(step, init, (e.reshape(-1, chunk, dim), starts))
  return index
