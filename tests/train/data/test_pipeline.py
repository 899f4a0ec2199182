"""Batches: pure in (seed, k), the same on any number of processes, every example counted once."""

import itertools
import threading
import time

import numpy as np
import pytest

from train.data import Data, batch, eval_batches, open_split, train_batches
from train.errors import BadInput


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(params=[True, False], ids=["cached", "from disk"])
def split(request, data_dir):
  """360 digits, which no batch size here divides."""
  return open_split(Data(dir=data_dir, cache=request.param, num_threads=3), "eval")


def assert_same(a, b):
  assert a.keys() == b.keys()
  for name in a:
    assert a[name].dtype == b[name].dtype
    np.testing.assert_array_equal(a[name], b[name])


def test_cached_and_from_disk_agree(data_dir):
  cached, disk = (open_split(Data(dir=data_dir, cache=c), "eval") for c in (True, False))
  assert_same(batch(cached, 0, 5, 16), batch(disk, 0, 5, 16))
  assert_same(cached[-1], disk[359])
  assert cached[3]["image"].shape == (32, 32, 1)
  assert cached[3]["label"].dtype == np.int32
  with pytest.raises(IndexError):
    cached[360]


def test_batch_is_a_pure_function_of_seed_and_step(split):
  run = list(train_batches(split, 1, 0, 60, 16))
  assert len(run) == 60
  for k, got in enumerate(run):
    assert_same(got, batch(split, 1, k, 16))
  assert run[0]["image"].shape == (16, 32, 32, 1)
  assert run[0]["image"].dtype == np.uint8
  assert run[0]["label"].dtype == run[0]["index"].dtype == np.int32
  assert run[0]["index"].tolist() == list(range(16))

  resumed = list(train_batches(split, 1, 37, 60, 16))
  for a, b in zip(run[37:], resumed, strict=True):
    assert_same(a, b)
  assert not list(train_batches(split, 1, 60, 60, 16))

  other = batch(split, 2, 0, 16)
  assert not np.array_equal(other["image"], run[0]["image"])


@pytest.mark.parametrize("k", [0, 22, 10**9])
def test_processes_share_the_global_batch(split, k):
  whole = batch(split, 3, k, 24)
  for count in (2, 3):
    parts = [batch(split, 3, k, 24, process_index=p, process_count=count) for p in range(count)]
    assert_same(whole, {name: np.concatenate([part[name] for part in parts]) for name in whole})
  with pytest.raises(BadInput, match="batch_size: 24 for 5 processes; give a multiple of 5"):
    train_batches(split, 3, 0, 1, 24, process_count=5)


@pytest.mark.parametrize("seed", [0, 7])
def test_an_epoch_visits_each_example_once_in_a_new_order(split, seed):
  everything = sorted(image.tobytes() for image in split.gather(range(len(split)))[0])
  images = [b["image"] for b in train_batches(split, seed, 0, 45, 16)]  # two epochs of 360
  epochs = np.split(np.concatenate(images), 2)
  for epoch in epochs:
    assert sorted(image.tobytes() for image in epoch) == everything
  assert not np.array_equal(*epochs)
  assert not np.array_equal(epochs[0], split.gather(range(len(split)))[0])


@pytest.mark.parametrize("batch_size", [16, 360, 1000])
def test_evaluation_counts_each_example_once_in_order(split, batch_size):
  batches = list(eval_batches(split, batch_size))
  assert {b["image"].shape for b in batches} == {(batch_size, 32, 32, 1)}
  mask = np.concatenate([b["mask"] for b in batches])
  assert mask.dtype == bool
  assert mask.sum() == len(split)
  images, labels = split.gather(range(len(split)))
  np.testing.assert_array_equal(np.concatenate([b["image"] for b in batches])[mask], images)
  np.testing.assert_array_equal(np.concatenate([b["label"] for b in batches])[mask], labels)
  index = np.concatenate([b["index"] for b in batches])
  assert index[mask].tolist() == list(range(len(split)))
  assert len(set(index.tolist())) == len(index)


def test_evaluation_on_two_processes(split):
  whole = list(eval_batches(split, 100))
  parts = [list(eval_batches(split, 100, process_index=p, process_count=2)) for p in range(2)]
  assert [len(part) for part in parts] == [len(whole)] * 2
  for k, expected in enumerate(whole):
    joined = {name: np.concatenate([part[k][name] for part in parts]) for name in expected}
    assert_same(joined, expected)


@pytest.mark.parametrize(("num_threads", "prefetch"), [(0, 0), (0, 4), (4, 0), (4, 1), (2, 8)])
def test_reading_ahead_changes_nothing(data_dir, num_threads, prefetch):
  data = Data(dir=data_dir, cache=False, num_threads=num_threads, prefetch=prefetch)
  split = open_split(data, "eval")
  got = list(train_batches(split, 0, 3, 9, 8))
  for k, expected in zip(range(3, 9), got, strict=True):
    assert_same(batch(split, 0, k, 8), expected)


def read_ahead_threads():
  return [t for t in threading.enumerate() if t.name.startswith("grain-prefetch")]


def test_leaving_early_ends_the_threads(split):
  batches = train_batches(split, 0, 0, 10_000, 16)
  assert len(list(itertools.islice(batches, 3))) == 3
  assert read_ahead_threads()
  batches.close()
  deadline = time.monotonic() + 10
  while read_ahead_threads() and time.monotonic() < deadline:
    time.sleep(0.01)
  assert not read_ahead_threads()


def test_an_error_in_a_thread_comes_out_as_it_is(split, monkeypatch):
  gather = split.gather

  def broken(indices):
    if 40 in indices:
      raise BadInput("example 40: broken; replace it")
    return gather(indices)

  monkeypatch.setattr(split, "gather", broken)
  batches = eval_batches(split, 16)
  assert len([next(batches), next(batches)]) == 2
  with pytest.raises(BadInput) as raised:
    next(batches)
  assert str(raised.value) == "example 40: broken; replace it"
