"""Nearest-code lookup: vectors in, codes out.

For z in R^D and a codebook e_1 .. e_K, VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937) keeps

    index = argmin_k |z - e_k|^2 = argmin_k |e_k|^2 / 2 - z . e_k,      codes = e_index

where the second form drops |z|^2, which no k changes, and so costs one matrix product. The
products are taken over a few codes at a time, so the N x K scores never exist at once.

Shapes: ... any leading axes, N their product, K codes, D code dimension.
"""

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
  A code that is not finite is never chosen; a vector that is not finite gets the index 0.
  Only `chunk_size` codes (default: by platform and N) are compared at once, so memory is
  O(N * chunk_size). Every such slice spans all N vectors: an N sharded over devices stays so.

  Args, raises: see `quantize`.
  """
  checks.vectors("assign", z, codebook)
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
  if metric == "euclidean":
    offset = 0.5 * jnp.sum(e * e, axis=-1)
  else:
    norm = jnp.linalg.norm(e, axis=-1, keepdims=True)
    e = e / jnp.where(norm > 0, norm, 1)  # a zero code is orthogonal to everything
    offset = jnp.zeros(e.shape[0], dtype)
  # A code that is not finite is nobody's nearest, rather than spoiling its neighbours' scores.
  finite = jnp.all(jnp.isfinite(e), axis=-1)
  e, offset = jnp.where(finite[:, None], e, 0), jnp.where(finite, offset, jnp.inf)
  flat = z.reshape(-1, z.shape[-1]).astype(dtype)

  if chunk_size is not None:
    indices = _argmin(flat, e, offset, chunk_size)
  else:
    indices = lax.platform_dependent(
      flat,
      e,
      offset,
      cpu=lambda *xs: _argmin(*xs, _chunk(flat.shape[0], _SCORES_ON_CPU)),
      default=lambda *xs: _argmin(*xs, _chunk(flat.shape[0], _SCORES_ELSEWHERE)),
    )
  return indices.reshape(z.shape[:-1])


def lookup(codebook: jax.Array, indices: jax.Array) -> jax.Array:
  """codebook[indices], [..., D]: the vectors of a map of codes; zeros where an index is -1.

  Args:
    codebook: [K, D].
    indices: i32[...], each in [-1, K); one above takes the last code.

  Raises:
    ValueError: the codebook has another rank, or the indices are no integers.
  """
  if codebook.ndim != 2 or not jnp.issubdtype(indices.dtype, jnp.integer):
    raise ValueError(
      "lookup: takes a codebook [K, D] and integer indices; "
      f"found {codebook.dtype}{list(codebook.shape)} and {indices.dtype}{list(indices.shape)}"
    )
  # In float32 at least, so that the gradient of a code used often adds up without loss.
  wide = jnp.asarray(codebook, at_least_float32(codebook.dtype))  # NumPy takes no traced index
  codes = jnp.where(indices[..., None] >= 0, wide[jnp.maximum(indices, 0)], 0)
  return codes.astype(codebook.dtype)


def _chunk(num_vectors: int, scores: int) -> int:
  return max(16, scores // max(num_vectors, 1))


def _argmin(z: jax.Array, e: jax.Array, offset: jax.Array, chunk: int) -> jax.Array:
  """argmin_k offset[k] - z . e[k] as i32[N], `chunk` codes at a time."""
  num_codes, dim = e.shape
  chunk = min(chunk, num_codes)
  padding = -num_codes % chunk
  e = jnp.pad(e, ((0, padding), (0, 0))).reshape(-1, chunk, dim)
  offset = jnp.pad(offset, (0, padding), constant_values=jnp.inf).reshape(-1, chunk)
  starts = jnp.arange(0, num_codes, chunk, dtype=jnp.int32)

  def step(best, xs):
    score, index = best
    e, offset, start = xs
    scores = offset - jnp.matmul(z, e.T, precision=lax.Precision.HIGHEST)
    least = jnp.min(scores, axis=-1)
    # Two plain reductions: XLA's own argmin is several times slower on CPU.
    position = lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    first = jnp.min(jnp.where(scores == least[:, None], position, chunk - 1), axis=-1)
    closer = least < score  # strictly: on ties the lower index stays
    return (jnp.where(closer, least, score), jnp.where(closer, start + first, index)), None

  # Selects that depend on z and e, so that the carry varies over their mesh axes under shard_map.
  some = z[:, 0] > e[0, 0, 0]
  init = (jnp.where(some, jnp.inf, jnp.inf).astype(z.dtype), jnp.where(some, 0, 0))
  (_, index), _ = lax.scan(step, init, (e, offset, starts))
  return index
