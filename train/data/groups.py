"""A labelled split as groups of examples that share a label, as group-supervised models train on.

An epoch of `Groups`: the members of every label are shuffled and cut into chunks of `group_size`
(the last chunk of a label has what is left; nothing is dropped or padded), and the chunks of all
labels are shuffled. Training is the endless sequence of such epochs, each shuffled anew. A batch
is B positions of it, and says in `group` which of its examples belong together; a chunk that a
batch's edge cuts is a group in each of the two batches.

The shuffles sort by the raw words of a counted generator, which NumPy keeps the same from version
to version (NEP 19), as it does not its own shuffle.
"""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from train.data.source import Split
from train.errors import BadInput

_EPOCHS_KEPT = 4  # a batch may need two, and threads read ahead


class Members(NamedTuple):
  """What is at some positions: which examples, and which of them belong together."""

  indices: np.ndarray  # int64[N]  of examples in the split
  group: np.ndarray  # int32[N]  counted from 0 in order of appearance


class Groups:
  """A view of a split whose batches consist of groups; read it as the split itself.

  Every batch has one more field, `group` int32[b]: the number of an example's group within the
  global batch, counted from 0 in order of appearance, so less than the batch size.

  Evaluation takes the labels in order, each in chunks of `group_size` of a shuffle that is always
  the same. Its batches cut no chunk: they are filled up with their last example, whose group goes
  on under a mask of False. Indices given to `examples` and `gather` are the split's own. Safe to
  read from several threads.
  """

  def __init__(self, split: Split, *, group_size: int, min_group_size: int | None = None):
    """Groups of `group_size`; with `min_group_size`, of a size drawn uniformly for each chunk.

    Args:
      split: with labels, all of which are read now.
      group_size: most members of a group.
      min_group_size: training's chunks have between this and `group_size` members, but for the
        last of a label. None: as many as `group_size`.

    Raises:
      BadInput: the split has no labels, or a size is impossible.
    """
    if group_size < 1:
      raise BadInput(f"group_size: {group_size}; give at least 1 member a group")
    if min_group_size is not None and not 1 <= min_group_size <= group_size:
      raise BadInput(
        f"min_group_size: {min_group_size}; give 1 to {group_size} (group_size), or None"
      )
    if not split.num_classes:
      raise BadInput(f"{split.name}: has no labels to group by; take a dataset that has them")
    self.split = split
    self.group_size, self.min_group_size = group_size, min_group_size
    self.name, self.image_shape = split.name, split.image_shape
    self.num_classes, self.class_names = split.num_classes, split.class_names
    self.num_threads, self.prefetch = split.num_threads, split.prefetch
    self._labels = split.labels()
    if self._labels.min() < 0:
      raise BadInput(
        f"{split.name}: example {self._labels.argmin()} has no label ({self._labels.min()}); "
        "take a split whose examples all have one"
      )
    self._epochs: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    self._lock = threading.Lock()
    self._fixed = _chunks(self._labels, _words(0), group_size, group_size)

  def __len__(self) -> int:
    return len(self.split)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    return self.split[index]

  def examples(self, indices: Sequence[int]) -> dict[str, Any]:
    """As the split's."""
    return self.split.examples(indices)

  def gather(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """As the split's."""
    return self.split.gather(indices)

  def labels(self) -> np.ndarray:
    """As the split's."""
    return self._labels.copy()

  def training(self, seed: int, first: int, count: int) -> Members:
    """What is at positions first..first+count-1 of training's endless sequence, however far."""
    size, chunks, end = len(self), [], first + count
    indices = []
    for epoch in range(first // size, -(-end // size)):
      order, chunk = self._epoch(seed, epoch)
      part = slice(max(0, first - epoch * size), min(size, end - epoch * size))
      indices.append(order[part])
      chunks.append(chunk[part] + len(chunks) * size)  # of no other epoch's
    return Members(np.concatenate(indices), _counted(np.concatenate(chunks)))

  def in_order(self, positions: np.ndarray) -> Members:
    """What is at the given positions, 0..len-1 and ascending, of the order of evaluation."""
    order, chunk = self._fixed
    return Members(order[positions], _counted(chunk[positions]))

  def batch_starts(self, indices: range, batch_size: int) -> np.ndarray:
    """Where batches of an evaluation of positions `indices` begin, and where the last one ends.

    A batch ends before a group that it would cut, unless the group alone is larger than a batch.
    """
    chunk = self._fixed[1][indices.start : indices.stop]
    begins = indices.start + np.flatnonzero(np.diff(chunk, prepend=-1))
    starts = [indices.start]
    while (end := starts[-1] + batch_size) < indices.stop:
      whole = begins[np.searchsorted(begins, end, side="right") - 1]
      starts.append(int(whole) if whole > starts[-1] else end)
    return np.array([*starts, indices.stop])

  def _epoch(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    with self._lock:  # threads that need the same epoch wait for the first
      if (seed, epoch) not in self._epochs:
        while len(self._epochs) >= _EPOCHS_KEPT:
          del self._epochs[next(iter(self._epochs))]  # the oldest
        words = _words(seed, epoch)
        least = self.min_group_size or self.group_size
        order, chunk = _chunks(self._labels, words, least, self.group_size)
        self._epochs[seed, epoch] = _shuffled(order, chunk, words)
      return self._epochs[seed, epoch]


def disjoint_groups(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
  """int32[G, k]: indices of examples in groups of exactly k that share a label.

  Each label's members are shuffled and cut into groups; fewer than k that are left over are in
  none of them, and no example is in two. Labels ascend.

  Args:
    labels: int[N].
    k: members a group.
    seed: of the shuffle, at least 0.

  Raises:
    BadInput: `k` is impossible, or no label has as many members.
  """
  if k < 1:
    raise BadInput(f"groups of {k}; give at least 1 member a group")
  order, first, counts = _by_label(np.asarray(labels), _words(seed))
  if not len(counts) or counts.max() < k:
    raise BadInput(
      f"groups of {k}: no label has as many examples, the most is {max(counts, default=0)}; "
      "take smaller groups"
    )
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
