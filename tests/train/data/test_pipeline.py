"""Batches: pure in (seed, k), the same on any number of processes, every example counted once."""

import itertools
import threading
import time

import numpy as np
import pytest

from train.data import Examples, batch, batches_of, eval_batches, train_batches
from train.errors import BadInput


class Numbers(Examples):
  """360 examples, which no batch size here divides, that show their index and their draw."""

  name, num_threads = "numbers", 3

  def __len__(self):
    return 360

  def read(self, indices, draws):
    draws = np.zeros(len(indices), np.uint64) if draws is None else draws
    return {"image": np.repeat(indices, 4).reshape(-1, 2, 2, 1), "draw": draws}


NUMBERS = Numbers()


def assert_same(a, b):
  assert a.keys() == b.keys()
  for name in a:
    assert a[name].dtype == b[name].dtype
    np.testing.assert_array_equal(a[name], b[name])


def joined(parts):
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def shown(batches):
  return np.concatenate([b["image"][:, 0, 0, 0] for b in batches])


def test_batch_is_a_pure_function_of_seed_and_step():
  run = list(train_batches(NUMBERS, 1, 0, 60, 16))
  assert len(run) == 60
  for k, got in enumerate(run):
    assert_same(got, batch(NUMBERS, 1, k, 16))
  assert run[0]["image"].shape == (16, 2, 2, 1)
  assert run[0]["index"].dtype == np.int32
  assert run[0]["index"].tolist() == list(range(16))

  resumed = list(train_batches(NUMBERS, 1, 37, 60, 16))
  for a, b in zip(run[37:], resumed, strict=True):
    assert_same(a, b)
  assert not list(train_batches(NUMBERS, 1, 60, 60, 16))

  other = batch(NUMBERS, 2, 0, 16)
  assert not np.array_equal(other["image"], run[0]["image"])
  assert not set(other["draw"]) & set(run[0]["draw"])


@pytest.mark.parametrize("k", [0, 22, 10**9, 10**20])
def test_processes_share_the_global_batch(k):
  whole = batch(NUMBERS, 3, k, 24)
  for count in (2, 3):
    parts = [batch(NUMBERS, 3, k, 24, process=(p, count)) for p in range(count)]
    assert_same(joined(parts), whole)


def test_rows_that_processes_can_not_share():
  message = "batch_size: 24 for 5 processes; give a multiple of 5"
  with pytest.raises(BadInput, match=message):
    next(train_batches(NUMBERS, 3, 0, 1, 24, process=(0, 5)))
  with pytest.raises(BadInput, match=message):
    eval_batches(NUMBERS, 24, process=(0, 5))
  with pytest.raises(BadInput, match="batch_size: 0 for 1 processes"):
    batch(NUMBERS, 0, 0, 0)


@pytest.mark.parametrize("seed", [0, 7])
def test_an_epoch_visits_each_example_once_in_a_new_order(seed):
  run = list(train_batches(NUMBERS, seed, 0, 45, 16))  # two epochs, whose edge is within a batch
  epochs = np.split(shown(run), 2)
  for epoch in epochs:
    assert sorted(epoch) == list(range(360))
    assert not np.array_equal(epoch, np.arange(360))
  assert not np.array_equal(*epochs)
  assert len(set(np.concatenate([b["draw"] for b in run]))) == 720


@pytest.mark.parametrize("batch_size", [16, 360, 1000])
def test_evaluation_counts_each_example_once_in_order(batch_size):
  batches = list(eval_batches(NUMBERS, batch_size))
  assert {b["image"].shape for b in batches} == {(batch_size, 2, 2, 1)}
  mask, index = (np.concatenate([b[name] for b in batches]) for name in ("mask", "index"))
  assert mask.dtype == bool and index.dtype == np.int32
  assert shown(batches)[mask].tolist() == index[mask].tolist() == list(range(360))
  assert len(set(index.tolist())) == len(index)
  assert not np.concatenate([b["draw"] for b in batches]).any()  # nothing may be drawn


def test_evaluation_on_two_processes():
  whole = list(eval_batches(NUMBERS, 100))
  parts = [list(eval_batches(NUMBERS, 100, process=(p, 2))) for p in range(2)]
  assert [len(part) for part in parts] == [len(whole)] * 2
  for k, expected in enumerate(whole):
    assert_same(joined([part[k] for part in parts]), expected)


def test_a_range_is_evaluated_in_order():
  batches = list(batches_of(NUMBERS, range(30, 55), 10))
  mask = np.concatenate([b["mask"] for b in batches])
  assert shown(batches)[mask].tolist() == list(range(30, 55))
  assert mask.tolist() == [True] * 25 + [False] * 5
  assert not list(batches_of(NUMBERS, range(30, 30), 10))


@pytest.mark.parametrize(("num_threads", "prefetch"), [(0, 0), (0, 4), (4, 0), (4, 1), (2, 8)])
def test_reading_ahead_changes_nothing(num_threads, prefetch):
  examples = Numbers()
  examples.num_threads, examples.prefetch = num_threads, prefetch
  got = list(train_batches(examples, 0, 3, 9, 8))
  for k, expected in zip(range(3, 9), got, strict=True):
    assert_same(batch(NUMBERS, 0, k, 8), expected)


def read_ahead_threads():
  return [t for t in threading.enumerate() if t.name.startswith("grain-prefetch")]


def test_leaving_early_ends_the_threads():
  batches = train_batches(NUMBERS, 0, 0, 10_000, 16)
  assert len(list(itertools.islice(batches, 3))) == 3
  assert read_ahead_threads()
  batches.close()
  deadline = time.monotonic() + 10
  while read_ahead_threads() and time.monotonic() < deadline:
    time.sleep(0.01)
  assert not read_ahead_threads()


def test_an_error_in_a_thread_comes_out_as_it_is():
  class Broken(Numbers):
    def read(self, indices, draws):
      if 40 in indices:
        raise BadInput("example 40: broken; replace it")
      return super().read(indices, draws)

  batches = eval_batches(Broken(), 16)
  assert len([next(batches), next(batches)]) == 2
  with pytest.raises(BadInput) as raised:
    next(batches)
  assert str(raised.value) == "example 40: broken; replace it"
