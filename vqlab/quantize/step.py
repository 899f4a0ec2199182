"""The usual training step of a codebook in one call: quantize, count, update."""

from typing import Any, NamedTuple

import jax

from vqlab.quantize.codebook import AssignmentStats, CodebookState, assignment_stats
from vqlab.quantize.nearest import Quantized, quantize
from vqlab.quantize.transforms import Transform


class Step(NamedTuple):
  """What one step gives."""

  quantized: Quantized  # by the codebook as it was
  state: CodebookState  # the next one
  stats: AssignmentStats  # of this batch


def quantize_and_update(
  z: jax.Array,
  state: CodebookState,
  key: jax.Array | None = None,
  *,
  update: Transform,
  mask: jax.Array | None = None,
  num_candidates: int | None = None,
  axis_name: str | None = None,
  **options: Any,
) -> Step:
  """`quantize`, `assignment_stats` and `update`, one after the other.

  Inside a loss, return the new state beside its value (`has_aux`): no gradient passes through it.

  Args:
    z: [..., D].
    state: the codebook, with its statistics.
    key: for candidates and the links that draw, such as `revive`.
    update: the codebook's transform.
    mask: bool[...]; vectors where it is False influence nothing, NaN included.
    num_candidates: of `assignment_stats`; None: as many as there are codes if there is a key.
    axis_name: the mapped axis that the batch is split over, or None.
    options: `metric`, `estimator` and `chunk_size` of `quantize`.

  Raises:
    ValueError: as the three functions do.
  """
  num_codes = state.codebook.shape[0]
  if num_candidates is None:
    num_candidates = 0 if key is None else num_codes
  quantized = quantize(z, state.codebook, mask=mask, **options)
  stats = assignment_stats(
    z, quantized.indices, num_codes=num_codes, key=key, num_candidates=num_candidates, mask=mask,
    axis_name=axis_name,
  )  # fmt: skip
  return Step(quantized, update(state, stats, key), stats)
