"""Examples by index, and the orders in which they are trained on and evaluated.

A kind of data is a subclass of `Examples` with `__len__` and `read`. The rest are pure functions of
a seed and a position, so that a run resumes from its step alone, on any number of processes.

    class Clips(Examples):
      def __len__(self): return len(self.videos)
      def read(self, indices, draws):                    # draws: None when evaluated
        start = 0 if draws is None else draws % self.starts
        ...
        return {"clip": clips, "label": labels}
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

_ROUNDS = 6


class Rows(NamedTuple):
  """Which examples the rows of a global batch are."""

  indices: np.ndarray  # i64[B]
  fields: Mapping[str, np.ndarray] = {}  # [B, ...] by name: what a batch has besides


class Batches(NamedTuple):
  """The batches of an evaluation; their `fields` have `index` and `mask`."""

  count: int
  rows: Callable[[int], Rows]


class Examples:
  """Examples that the pipeline reads by their indices."""

  name = "the examples"  # for messages
  num_threads = 1  # that reading ahead is worth; 0: none
  prefetch = 8  # batches to read ahead

  def __len__(self) -> int:
    raise NotImplementedError

  def read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, Any]:
    """Examples as arrays [N, ...] by name, or pytrees of such; called from several threads.

    Args:
      indices: i64[N], each 0..len-1.
      draws: u64[N], a random word for each place in training; None where nothing may be drawn.
        `words(draws, n)` makes more of each.
    """
    raise NotImplementedError

  def part(self, k: int, batch_size: int) -> tuple["Examples", int, int]:
    """Training batch k: what it is read from, the first of its positions, and how many they are."""
    return self, k * batch_size, batch_size

  def training(self, seed: int, first: int, count: int) -> Rows:
    """Positions first..first+count-1 of training's endless sequence: an order anew each epoch."""
    epochs = range(first // len(self), (first + count - 1) // len(self) + 1)
    orders = []
    for epoch in epochs:
      start = epoch * len(self)
      within = range(max(first - start, 0), min(first + count - start, len(self)))
      orders.append(permuted(np.arange(within.start, within.stop), len(self), seed, epoch))
    return Rows(np.concatenate(orders))

  def evaluation(self, batch_size: int) -> Batches:
    """Every example once, in order; the last batch is filled up with the last example."""
    return in_order(range(len(self)), batch_size)


def in_order(indices: range, batch_size: int) -> Batches:
  """Batches of a range of examples, in which each counts once."""

  def rows(k: int) -> Rows:
    positions = indices.start + k * batch_size + np.arange(batch_size)
    fields = {"index": positions.astype(np.int32), "mask": positions < indices.stop}
    return Rows(np.minimum(positions, indices.stop - 1), fields)

  return Batches(-(-len(indices) // batch_size), rows)


def draws_at(seed: int, first: int, rows: np.ndarray) -> np.ndarray:
  """The random words u64[N] of positions first + rows of training's sequence."""
  (key,) = np.random.SeedSequence((seed, 1)).generate_state(1, np.uint64)
  start, high = np.uint64(first % 2**64), np.uint64((first >> 64) % 2**64)
  low = start + rows.astype(np.uint64)
  return _mixed(_mixed(_mixed(low) ^ key) ^ (high + (low < start)))  # the sum may wrap


def words(draws: np.ndarray, count: int) -> np.ndarray:
  """u64[count, N]: independent words of each draw."""
  return _mixed(draws + _mixed(np.arange(1, count + 1, dtype=np.uint64))[:, None])


def permuted(positions: np.ndarray, length: int, seed: int, epoch: int) -> np.ndarray:
  """i64[N]: where a shuffle of 0..length-1 has what stands at the positions.

  A keyed bijection of the next power of two, again and again until it is within the length (cycle
  walking): no memory but that of the positions, whatever the length. The power is at least 16, as
  the bijections of less are too few to be fair.
  """
  bits = max((length - 1).bit_length(), 4)
  mask, shift = np.uint64(2**bits - 1), np.uint64(bits // 2 + 1)
  keys = np.random.SeedSequence((seed, 0, epoch)).generate_state(2 * _ROUNDS, np.uint64)

  def once(x: np.ndarray) -> np.ndarray:
    for factor, term in keys.reshape(_ROUNDS, 2):
      x = (x * (factor | np.uint64(1)) + term) & mask
      x ^= x >> shift
    return x

  x = once(positions.astype(np.uint64))
  while (outside := np.flatnonzero(x >= np.uint64(length))).size:
    x[outside] = once(x[outside])
  return x.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
  """A word for each word, by the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
  x = x + np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))
