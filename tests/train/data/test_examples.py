"""Orders and draws: bijections, about uniform, and pure functions of a seed and a position."""

import numpy as np
import pytest

from train.data import Examples, Rows, batch, words
from train.data.examples import draws_at, permuted


def uniform(counts: np.ndarray) -> bool:
  """Whether counts of what should be equally likely are within 6 deviations of Pearson's test."""
  expected, freedom = counts.mean(), counts.size - 1
  statistic = (np.square(counts - expected) / expected).sum()
  return abs(statistic - freedom) < 6 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("length", [*range(1, 41), 1437, 65537])
def test_an_order_is_a_bijection_of_its_own_seed_and_epoch(length):
  of = lambda seed, epoch: permuted(np.arange(length), length, seed, epoch)
  for seed, epoch in ((0, 0), (7, 0), (0, 1), (0, 10**30)):
    order = of(seed, epoch)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(length))
    np.testing.assert_array_equal(order, of(seed, epoch))
    backwards = permuted(np.arange(length)[::-1], length, seed, epoch)
    np.testing.assert_array_equal(backwards, order[::-1])
  if length > 1:
    assert len({of(0, epoch).tobytes() for epoch in range(20)}) > 1
    assert len({of(seed, 0).tobytes() for seed in range(20)}) > 1


@pytest.mark.parametrize("length", [2, 3, 4, 8, 16])
def test_every_order_of_a_few_is_as_likely(length):
  orders = np.stack([permuted(np.arange(length), length, 3, epoch) for epoch in range(1000)])
  for i in (0, length - 1):
    assert uniform(np.bincount(orders[:, i], minlength=length))
  pairs = np.bincount(orders[:, 0] * length + orders[:, -1], minlength=length**2)
  assert uniform(pairs[np.flatnonzero(~np.eye(length, dtype=bool))])
  if length <= 4:
    found = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(found) == [0, 1, 2, 6, 24][length] and uniform(found)


@pytest.mark.parametrize("length", [1437, 60_000, 2**17])
def test_an_order_of_many_tells_nothing(length):
  """Neither of where an example is, nor of what follows it, nor of the next epoch."""
  first, second = (permuted(np.arange(length), length, 5, epoch) for epoch in range(2))
  part = lambda x: x % length * 16 // length
  for step in (np.arange(length), np.roll(first, 1), np.roll(first, 2), second):
    assert uniform(np.bincount(part(first) * 16 + part(step), minlength=256))
    assert uniform(np.bincount(part(first - step), minlength=16))
    assert uniform(np.bincount(first % 16 * 16 + step % 16, minlength=256))


def test_orders_and_draws_are_the_same_everywhere():
  """Runs of this seed were recorded: another order would be another run."""
  assert permuted(np.arange(6), 1437, 0, 0).tolist() == [697, 290, 1190, 320, 507, 834]
  draws = [15994962669959795238, 15509514646761377490]
  assert draws_at(0, 5, np.arange(2)).tolist() == draws


@pytest.mark.parametrize("first", [0, 2**64 - 8, 2**64 - 3, 10**30])
def test_a_draw_is_that_of_its_position_whatever_the_batch(first):
  long = draws_at(1, first, np.arange(16))
  assert long.dtype == np.uint64 and len(set(long.tolist())) == 16
  short = [draws_at(1, first + 8 * k, np.arange(8)) for k in range(2)]
  np.testing.assert_array_equal(np.concatenate(short), long)
  np.testing.assert_array_equal(draws_at(1, first, np.int32([9, 2])), long[[9, 2]])
  assert not set(long.tolist()) & set(draws_at(2, first, np.arange(16)).tolist())
  assert not set(long.tolist()) & set(draws_at(1, first + 2**64, np.arange(16)).tolist())


def test_draws_and_their_words_are_uniform_and_independent():
  draws = draws_at(0, 2**64 - 10_000, np.arange(20_000))  # past 2^64 as before it
  columns = [draws, draws_at(1, 2**64 - 10_000, np.arange(20_000)), *words(draws, 3)]
  for shift in (0, 30, 60):  # the lowest bits, some in the middle, the highest
    bits = [(column >> np.uint64(shift)).astype(int) % 16 for column in columns]
    for i, x in enumerate(bits):
      assert uniform(np.bincount(x, minlength=16))
      assert uniform(np.bincount(x[1:] * 16 + x[:-1], minlength=256))
      for y in bits[:i]:
        assert uniform(np.bincount(x * 16 + y, minlength=256))


def test_words_are_each_draws_own():
  draws = draws_at(0, 0, np.arange(10))
  found = words(draws, 3)
  assert found.shape == (3, 10) and found.dtype == np.uint64
  np.testing.assert_array_equal(words(draws[4:5], 5)[:3], found[:, 4:5])


class Clips(Examples):
  """Clips of 4 frames, from a random start in training, of 10 videos whose frames count up."""

  def __len__(self):
    return 10

  def read(self, indices, draws):
    start = np.zeros(len(indices), int) if draws is None else (draws % 97).astype(int)
    return {"clip": indices[:, None] * 100 + start[:, None] + np.arange(4)}


@pytest.mark.parametrize("k", [0, 1, 10**20])
def test_a_random_clip_is_the_same_on_any_number_of_processes(k):
  whole = batch(Clips(), 3, k, 20)["clip"]
  assert sorted(whole[:, 0] // 100) == sorted(2 * [*range(10)])
  assert len(set(whole[:, 0] % 100)) > 10  # another start each time
  parts = [batch(Clips(), 3, k, 20, process=(p, 2))["clip"] for p in range(2)]
  np.testing.assert_array_equal(np.concatenate(parts), whole)
  halves = [batch(Clips(), 3, 2 * k + i, 10)["clip"] for i in range(2)]
  np.testing.assert_array_equal(np.concatenate(halves), whole)


def test_a_range_of_positions_is_a_part_of_one_sequence():
  examples, far = Clips(), 10**20 + 7
  whole = examples.training(0, far, 45)
  assert isinstance(whole, Rows) and whole.indices.dtype == np.int64 and not whole.fields
  for first, count in ((0, 45), (3, 1), (2, 31), (33, 12)):
    part = examples.training(0, far + first, count).indices
    np.testing.assert_array_equal(part, whole.indices[first : first + count])
