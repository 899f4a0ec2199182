"""Batches that are pure functions of the seed and the step.

A batch is what `Examples.read` gives of the process's own rows of the global batch, with

    index   int32[b]   what random draws are keyed by: training, the row in the global batch;
                       evaluation, the position among the examples
    mask    bool[b]    evaluation only: False for what fills up a batch

and what the order of the examples adds, such as the groups of `Groups`.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np

from train.data.examples import Batches, Examples, draws_at, in_order
from train.errors import BadInput

Batch = dict[str, Any]
Process = tuple[int, int]  # its number, and how many there are


def batch(
  examples: Examples, seed: int, k: int, batch_size: int, process: Process = (0, 1)
) -> Batch:
  """Training batch k: a function of the examples, `seed`, `k` and `batch_size` alone.

  The global batch k is positions [k B, (k + 1) B) of the examples' endless sequence, unless their
  `part` says otherwise, of which process p of n gets rows [p B/n, (p + 1) B/n).

  Raises:
    BadInput: `batch_size` is not a multiple of the number of processes.
  """
  examples, first, count = examples.part(k, batch_size)  # Python ints: no step is too far
  own, rows = _rows(count, process), examples.training(seed, first, count)
  read = examples.read(rows.indices[own], draws_at(seed, first, own))
  return read | {name: x[own] for name, x in rows.fields.items()} | {"index": own}


def train_batches(
  examples: Examples,
  seed: int,
  start: int,
  stop: int,
  batch_size: int,
  process: Process = (0, 1),
) -> Iterator[Batch]:
  """Batches start..stop-1 of `batch`, read ahead in `examples.num_threads` threads.

  Closing the iterator, or leaving it to the garbage collector, ends the threads. An exception in
  a thread is raised where its batch would have come.
  """
  make = functools.partial(batch, examples, seed, batch_size=batch_size, process=process)
  return _read_ahead(examples, start, stop, make)


def eval_batches(examples: Examples, batch_size: int, process: Process = (0, 1)) -> Iterator[Batch]:
  """Every example once; as many batches on each process. Reads ahead as `train_batches`."""
  return _evaluated(examples, examples.evaluation(batch_size), _rows(batch_size, process))


def batches_of(examples: Examples, indices: range, batch_size: int) -> Iterator[Batch]:
  """The examples of a range once, in order; otherwise as `eval_batches` of one process."""
  return _evaluated(examples, in_order(indices, batch_size), _rows(batch_size, (0, 1)))


def _evaluated(examples: Examples, batches: Batches, own: np.ndarray) -> Iterator[Batch]:
  def make(k: int) -> Batch:
    rows = batches.rows(k)
    return examples.read(rows.indices[own], None) | {n: x[own] for n, x in rows.fields.items()}

  return _read_ahead(examples, 0, batches.count, make)


def _read_ahead(
  examples: Examples, start: int, stop: int, make: Callable[[int], Batch]
) -> Iterator[Batch]:
  options = grain.ReadOptions(
    num_threads=min(examples.num_threads, examples.prefetch),
    prefetch_buffer_size=examples.prefetch,
  )
  iterator = iter(grain.MapDataset.range(start, stop).map(make).to_iter_dataset(options))
  try:
    yield from iterator
  finally:
    iterator.close()


def _rows(batch_size: int, process: Process) -> np.ndarray:
  """The rows of the global batch that are this process's own."""
  index, count = process
  if batch_size < 1 or batch_size % count:
    raise BadInput(f"batch_size: {batch_size} for {count} processes; give a multiple of {count}")
  return np.arange(batch_size, dtype=np.int32).reshape(count, -1)[index]
