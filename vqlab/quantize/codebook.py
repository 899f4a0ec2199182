"""The state of a codebook that is trained by statistics, and the statistics of a batch.

Shapes: K codes, D code dimension, M candidates, ... any leading axes of the vectors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.nn.dtypes import at_least_float32
from vqlab.quantize import checks


class CodebookState(NamedTuple):
  """Everything the codebook's transforms share, as one pytree."""

  codebook: jax.Array  # f32[K, D]  what `quantize` reads
  counts: jax.Array  # f32[K]     discounted assignments
  sums: jax.Array  # f32[K, D]  discounted sums of the vectors assigned
  step: jax.Array  # i32[]      batches seen that held a vector


class AssignmentStats(NamedTuple):
  """What one batch, over all devices, says about the codes."""

  counts: jax.Array  # f32[K]     vectors assigned
  sums: jax.Array  # f32[K, D]  their sums
  candidates: jax.Array  # f32[M, D]  vectors drawn from the batch, for `revive`


def init(
  key: jax.Array, num_codes: int, dim: int, *, dtype: jax.typing.DTypeLike = jnp.float32
) -> CodebookState:
  """A fresh CodebookState, its codes uniform in +-sqrt(3 / D) as in Sonnet and Haiku.

  Raises:
    ValueError: num_codes or dim is below 1.
  """
  for name, value in (("num_codes", num_codes), ("dim", dim)):
    if value < 1:
      raise ValueError(f"quantize.init: {name} is {value}; it must be at least 1")
  limit = (3 / dim) ** 0.5
  statistics = at_least_float32(dtype)
  return CodebookState(
    codebook=jax.random.uniform(key, (num_codes, dim), dtype, -limit, limit),
    counts=jnp.zeros(num_codes, statistics),
    sums=jnp.zeros((num_codes, dim), statistics),
    step=jnp.zeros((), jnp.int32),
  )


def assignment_stats(
  z: jax.Array,
  indices: jax.Array,
  *,
  num_codes: int,
  key: jax.Array | None = None,
  num_candidates: int = 0,
  mask: jax.Array | None = None,
  axis_name: str | None = None,
) -> AssignmentStats:
  """Counts and sums of the vectors assigned to each code, and candidates for revival.

  Under `jit` over sharded arrays z is global and so are the results. Under `pmap` or `shard_map`
  name the axis the batch is split over, and pass every device the same key: then each returns the
  statistics of the whole batch, and the candidates that one device alone would have drawn.

  Sums are scatter-adds: on GPUs the order of additions may vary from run to run unless XLA is
  told otherwise (XLA_FLAGS=--xla_gpu_deterministic_ops=true).

  Args:
    z: [..., D].
    indices: int[...]; what is not in [0, K), as -1, counts as masked.
    num_codes: K.
    key: needed with num_candidates > 0.
    num_candidates: M. They are distinct vectors where the batch has that many.
    mask: bool[...]; vectors where it is False influence nothing, NaN included.
    axis_name: the mapped axis, or None.

  Raises:
    ValueError: shapes do not agree, or a key is missing.
  """
  z, indices = jnp.asarray(z), jnp.asarray(indices)
  if z.ndim < 1 or indices.shape != z.shape[:-1] or not jnp.issubdtype(indices.dtype, jnp.integer):
    raise ValueError(
      f"assignment_stats: indices must be int{list(z.shape[:-1])}, one for each vector of z "
      f"{list(z.shape)}; found {indices.dtype}{list(indices.shape)}"
    )
  checks.mask("assignment_stats", mask, indices.shape)
  if num_candidates < 0 or (num_candidates and key is None):
    raise ValueError(
      f"assignment_stats: num_candidates is {num_candidates}; it must be 0, or positive with a key"
    )
  dtype = at_least_float32(z.dtype)
  dim = z.shape[-1]
  indices = indices.astype(jnp.int32)  # small ones could not be compared with K
  valid = (indices >= 0) & (indices < num_codes)
  valid = valid if mask is None else mask & valid
  valid, indices = valid.reshape(-1), indices.reshape(-1)
  # Not a product: NaN times 0 is NaN.
  z = jnp.where(valid[:, None], lax.stop_gradient(z).reshape(-1, dim).astype(dtype), 0)
  indices = jnp.where(valid, indices, num_codes)  # out of bounds, so dropped
  counts = jnp.zeros(num_codes, dtype).at[indices].add(valid.astype(dtype), mode="drop")
  sums = jnp.zeros((num_codes, dim), dtype).at[indices].add(z, mode="drop")
  if axis_name is not None:
    counts, sums = lax.psum((counts, sums), axis_name)
  if num_candidates:
    candidates = _draw(key, z, valid, num_candidates, axis_name)
  else:
    candidates = jnp.zeros((0, dim), dtype)
  return AssignmentStats(counts, sums, candidates)


def _draw(
  key: jax.Array, z: jax.Array, valid: jax.Array, num: int, axis_name: str | None
) -> jax.Array:
  """`num` of the valid rows of z (over all devices), spread over the batch; zeros if none is valid.

  The valid rows fall into `num` strata of equal size, but for one; from each one row is drawn. So
  rows are distinct as long as there are enough (else each comes up in turn), and at any number of
  devices the same.
  """
  rank = jnp.cumsum(valid, dtype=jnp.int32) - 1  # of each valid row among this device's
  local = jnp.sum(valid, dtype=jnp.int32)
  if axis_name is None:
    total, before = local, jnp.zeros((), jnp.int32)
  else:
    counts = lax.all_gather(local, axis_name)
    total = jnp.sum(counts, dtype=jnp.int32)
    here = lax.axis_index(axis_name)
    earlier = jnp.arange(counts.shape[0], dtype=jnp.int32) < here
    before = jnp.sum(jnp.where(earlier, counts, 0), dtype=jnp.int32)
  # Stratum m holds total // num ranks, and one more while m < total % num.
  m = jnp.arange(num, dtype=jnp.int32)
  quotient, remainder = total // num, total % num
  low = m * quotient + jnp.minimum(m, remainder)
  width = jnp.maximum(quotient + (m < remainder).astype(jnp.int32), 1)
  u = jax.random.uniform(key, (num,), jnp.float32)
  within = jnp.minimum((u * width.astype(jnp.float32)).astype(jnp.int32), width - 1)
  wanted = jnp.where(quotient > 0, low + within, m % jnp.maximum(total, 1)) - before
  row = jnp.searchsorted(rank, wanted, side="left").astype(jnp.int32)
  mine = (wanted >= 0) & (wanted < local)
  if z.shape[0]:
    drawn = jnp.where(mine[:, None], z[jnp.clip(row, 0, z.shape[0] - 1)], 0)
  else:
    drawn = jnp.zeros((num, z.shape[1]), z.dtype)
  return drawn if axis_name is None else lax.psum(drawn, axis_name)
