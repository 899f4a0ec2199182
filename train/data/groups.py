"""Labelled examples in groups that share a label, as group-supervised models train on.

An epoch of `Groups`: the members of every label are shuffled and cut into chunks of `group_size`
(the last chunk of a label has what is left; nothing is dropped or padded), and the chunks of all
labels are shuffled. Training is the endless sequence of such epochs, each shuffled anew. A batch
is B positions of it, and says in `group` which of its examples belong together; a chunk that a
batch's edge cuts is a group in each of the two batches.

The shuffles sort by the raw words of a counted generator, which NumPy keeps the same from version
to version (NEP 19), as it does not its own shuffle.
"""

import functools
from typing import Any

import numpy as np

from train.data.examples import Batches, Examples, Rows
from train.errors import BadInput


class Groups(Examples):
  """Labelled examples whose batches consist of groups.

  Every batch has one more field, `group` int32[b]: the number of an example's group within the
  global batch, counted from 0 in order of appearance, so less than the batch size.

  Evaluation takes the labels in order, each in chunks of `group_size` of a shuffle that is always
  the same. Its batches cut no chunk: they are filled up with their last example, whose group goes
  on under a mask of False. Indices given to `read` are those of the examples.
  """

  def __init__(
    self,
    examples: Examples,
    labels: np.ndarray,
    *,
    group_size: int,
    min_group_size: int | None = None,
  ):
    """Groups of `group_size`; with `min_group_size`, of a size drawn uniformly for each chunk.

    Args:
      labels: int[N], what the examples of a group share; at least 0.
      min_group_size: training's chunks have between this and `group_size` members, but for the
        last of a label. None: as many as `group_size`.

    Raises:
      BadInput: an example has no label, or `min_group_size` is impossible.
    """
    if min_group_size is not None and not 1 <= min_group_size <= group_size:
      raise BadInput(
        f"min_group_size: {min_group_size}; give 1 to {group_size} (group_size), or None"
      )
    if labels.min() < 0:
      raise BadInput(
        f"{examples.name}: example {labels.argmin()} has no label ({labels.min()}); "
        "take examples that all have one"
      )
    self.examples, self.labels = examples, labels
    self.group_size, self.min_group_size = group_size, min_group_size
    self.name = examples.name
    self.num_threads, self.prefetch = examples.num_threads, examples.prefetch
    # A batch may need two epochs, and threads read ahead.
    self._epoch = functools.lru_cache(4)(self._new_epoch)
    self._fixed = _chunks(labels, _words(0), group_size, group_size)

  def __len__(self) -> int:
    return len(self.examples)

  def read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, Any]:
    return self.examples.read(indices, draws)

  def training(self, seed: int, first: int, count: int) -> Rows:
    """What is at positions first..first+count-1 of training's endless sequence, however far."""
    size, chunks, end = len(self), [], first + count
    indices = []
    for epoch in range(first // size, -(-end // size)):
      order, chunk = self._epoch(seed, epoch)
      part = slice(max(0, first - epoch * size), min(size, end - epoch * size))
      indices.append(order[part])
      chunks.append(chunk[part] + len(chunks) * size)  # of no other epoch's
    return Rows(np.concatenate(indices), {"group": _counted(np.concatenate(chunks))})

  def evaluation(self, batch_size: int) -> Batches:
    """Every example once; a batch cuts a group only where the group alone is larger."""
    order, chunk = self._fixed
    begins = np.flatnonzero(np.diff(chunk, prepend=-1))
    starts = [0]
    while (end := starts[-1] + batch_size) < len(self):
      whole = begins[np.searchsorted(begins, end, side="right") - 1]
      starts.append(int(whole) if whole > starts[-1] else end)
    starts.append(len(self))

    def rows(k: int) -> Rows:
      positions = starts[k] + np.arange(batch_size)
      held = np.minimum(positions, starts[k + 1] - 1)
      fields = {"index": positions.astype(np.int32), "mask": positions < starts[k + 1]}
      return Rows(order[held], fields | {"group": _counted(chunk[held])})

    return Batches(len(starts) - 1, rows)

  def _new_epoch(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    words, least = _words(seed, epoch), self.min_group_size or self.group_size
    return _shuffled(*_chunks(self.labels, words, least, self.group_size), words)


def disjoint_groups(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
  """int32[G, k]: indices of examples in groups of exactly k that share a label.

  Each label's members are shuffled and cut into groups; fewer than k that are left over are in
  none of them, and no example is in two. Labels ascend.
  """
  order, first, counts = _by_label(labels, _words(seed))
  rank = np.arange(len(order)) - np.repeat(first, counts)
  whole = rank < np.repeat(counts // k * k, counts)
  return order[whole].reshape(-1, k).astype(np.int32)


def _words(seed: int, *key: int) -> np.random.PCG64:
  return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))


def _by_label(
  labels: np.ndarray, words: np.random.PCG64
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Indices sorted by label, shuffled within each; where each label begins and how many it has."""
  order = np.lexsort((words.random_raw(len(labels)), labels))
  _, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
  return order, first, counts


def _chunks(
  labels: np.ndarray, words: np.random.PCG64, least: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
  """Indices int64[N] sorted by label, shuffled within each; the number int64[N] of their chunk."""
  order, first, counts = _by_label(labels, words)
  tries = -(-counts // least)  # chunks that a label has at most
  sizes = np.full(tries.sum(), most)
  if least < most:
    sizes = least + (words.random_raw(len(sizes)) % np.uint64(most - least + 1)).astype(np.int64)
  before = np.cumsum(sizes) - sizes
  before -= np.repeat(before[np.cumsum(tries) - tries], tries)  # within the label
  used = before < np.repeat(counts, tries)
  begins = np.zeros(len(labels), bool)
  begins[(np.repeat(first, tries) + before)[used]] = True
  return order, np.cumsum(begins) - 1


def _shuffled(
  order: np.ndarray, chunk: np.ndarray, words: np.random.PCG64
) -> tuple[np.ndarray, np.ndarray]:
  """The same with the chunks in another order, numbered as they come."""
  first, counts = np.unique(chunk, return_index=True, return_counts=True)[1:]
  drawn = np.argsort(words.random_raw(len(first)), kind="stable")
  first, counts = first[drawn], counts[drawn]
  rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
  return order[np.repeat(first, counts) + rank], np.repeat(np.arange(len(counts)), counts)


def _counted(chunk: np.ndarray) -> np.ndarray:
  """int32[N] that starts from 0 and counts on wherever the chunk changes."""
  return np.cumsum(np.diff(chunk, prepend=chunk[:1]) != 0, dtype=np.int32)
