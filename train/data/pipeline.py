"""Batches that are pure functions of the seed and the step.

A batch is a dict of numpy arrays, the process's own rows of the global batch:

    image   uint8[b, H, W, C]  or, of extracted codes:
    codes   int32[b, h, w], ...  a tuple, one map a level
    label   int32[b]           0 where there are no labels
    index   int32[b]           what random draws are keyed by: training, the row in the global
                               batch; evaluation, the position in the split
    mask    bool[b]            evaluation only: False for what fills up the last batch
    group   int32[b]           of `Groups` only: which group of the global batch it belongs to
"""

import functools
from collections.abc import Callable, Iterator

import grain
import numpy as np

from train.data.codes import CodesSplit
from train.data.groups import Groups
from train.data.source import Split
from train.errors import BadInput

Batch = dict[str, np.ndarray]
Examples = Split | CodesSplit | Groups


def batch(
  split: Examples,
  seed: int,
  k: int,
  batch_size: int,
  *,
  process_index: int = 0,
  process_count: int = 1,
) -> Batch:
  """Training batch k: a function of the split, `seed`, `k` and `batch_size` alone.

  The split is repeated without end, each time in a new order; the global batch k is positions
  [k B, (k + 1) B) of that sequence, of which process p of n gets rows [p B/n, (p + 1) B/n).
  In what order `Groups` come, their class says.

  Raises:
    BadInput: `batch_size` is not a multiple of `process_count`.
  """
  rows = _rows(batch_size, process_index, process_count)
  first = k * batch_size  # a Python int: no step is too far
  if isinstance(split, Groups):
    indices, group = split.training(seed, first, batch_size)
    return split.examples(indices[rows]) | {"group": group[rows], "index": rows}
  order = _order(len(split), seed)
  examples = split.examples([order[first + int(row)] for row in rows])
  return examples | {"index": rows}


def train_batches(
  split: Examples,
  seed: int,
  start: int,
  stop: int,
  batch_size: int,
  *,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Batches start..stop-1 of `batch`, read ahead in `split.num_threads` threads.

  Closing the iterator, or leaving it to the garbage collector, ends the threads. An exception in
  a thread is raised where its batch would have come.

  Raises:
    BadInput: `batch_size` is not a multiple of `process_count`.
  """
  process = {"process_index": process_index, "process_count": process_count}
  _rows(batch_size, **process)
  make = functools.partial(batch, split, seed, batch_size=batch_size, **process)
  return _read_ahead(split, start, stop, make)


def eval_batches(
  split: Examples,
  batch_size: int,
  *,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Every example once, in order (of `Groups`: theirs); as many batches on each process.

  The last batch is filled up with the last example, under a mask of False. Reads ahead and ends
  as `train_batches`.

  Raises:
    BadInput: `batch_size` is not a multiple of `process_count`.
  """
  rows = _rows(batch_size, process_index, process_count)
  return _in_order(split, range(len(split)), batch_size, rows)


def batches_of(split: Examples, indices: range, batch_size: int) -> Iterator[Batch]:
  """The examples of a range once, in order; otherwise as `eval_batches` of one process."""
  return _in_order(split, indices, batch_size, _rows(batch_size, 0, 1))


def _in_order(
  split: Examples, indices: range, batch_size: int, rows: np.ndarray
) -> Iterator[Batch]:
  if isinstance(split, Groups):
    starts = split.batch_starts(indices, batch_size)
  else:
    starts = np.append(np.arange(indices.start, indices.stop, batch_size), indices.stop)

  def make(k: int) -> Batch:
    first, last = starts[k], starts[k + 1] - 1
    positions = first + rows
    padding = {"index": positions, "mask": positions <= last}
    if isinstance(split, Groups):  # whose numbers count from the global batch's first row
      members, group = split.in_order(np.minimum(first + np.arange(batch_size), last))
      return split.examples(members[rows]) | {"group": group[rows], **padding}
    return split.examples(np.minimum(positions, last)) | padding

  return _read_ahead(split, 0, len(starts) - 1, make)


def _read_ahead(
  split: Examples, start: int, stop: int, make: Callable[[int], Batch]
) -> Iterator[Batch]:
  options = grain.ReadOptions(num_threads=split.num_threads, prefetch_buffer_size=split.prefetch)
  iterator = iter(grain.MapDataset.range(start, stop).map(make).to_iter_dataset(options))
  try:
    yield from iterator
  finally:
    iterator.close()


@functools.lru_cache(maxsize=8)
def _order(length: int, seed: int) -> grain.MapDataset[int]:
  """Index of the example at each position. Each epoch costs about 25 ms at least: Grain's shuffle
  walks through 2**16 numbers to find the few that are indices of a small split."""
  return grain.MapDataset.range(length).seed(seed).shuffle().repeat()


def _rows(batch_size: int, process_index: int, process_count: int) -> np.ndarray:
  """The rows of the global batch that are this process's own."""
  if batch_size < 1 or batch_size % process_count:
    raise BadInput(
      f"batch_size: {batch_size} for {process_count} processes; give a multiple of {process_count}"
    )
  own = batch_size // process_count
  return np.arange(process_index * own, (process_index + 1) * own, dtype=np.int32)
