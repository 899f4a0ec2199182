"""Images of a split: the same from memory and from disk, with labels that cost no image."""

import numpy as np
import pytest

from train.data import Groups, batch, eval_batches, train_batches
from train.images.sources import Digits


@pytest.fixture(scope="module")
def digits(data_dir):
  """The 360 held-out digits, in memory and not."""
  return [Digits(dir=str(data_dir), cache=c, num_threads=3).open()["eval"] for c in (True, False)]


def assert_same(a, b):
  assert a.keys() == b.keys()
  for name in a:
    assert a[name].dtype == b[name].dtype
    np.testing.assert_array_equal(a[name], b[name])


def test_cached_and_from_disk_agree(digits):
  cached, disk = digits
  assert (cached.num_threads, disk.num_threads) == (1, 3)
  for split in digits:
    b = batch(split, 0, 5, 16)
    assert b["image"].shape == (16, 32, 32, 1) and b["image"].dtype == np.uint8
    assert b["label"].dtype == b["index"].dtype == np.int32
  for of in (lambda s: train_batches(s, 0, 20, 25, 16), lambda s: eval_batches(s, 100)):
    for a, b in zip(of(cached), of(disk), strict=True):
      assert_same(a, b)
  assert_same(cached.read(np.array([359, 3])), disk.read(np.array([359, 3])))
  for split in digits:
    with pytest.raises((IndexError, ValueError)):
      split.read(np.array([360]))


def test_evaluation_is_of_all_images_in_order(digits):
  for split in digits:
    batches = list(eval_batches(split, 100))
    whole = split.read(np.arange(360))
    for name in ("image", "label"):
      read = np.concatenate([b[name][b["mask"]] for b in batches])
      np.testing.assert_array_equal(read, whole[name])


def test_in_groups(digits):
  cached, disk = (Groups(s, s.labels(), group_size=6, min_group_size=2) for s in digits)
  assert (cached.name, len(cached), disk.num_threads) == (digits[0].name, 360, 3)
  for a, b in zip(
    train_batches(cached, 0, 0, 25, 16), train_batches(disk, 0, 0, 25, 16), strict=True
  ):
    assert_same(a, b)
    for g in range(a["group"].max() + 1):
      assert len(set(a["label"][a["group"] == g])) == 1


def test_labels(digits):
  for split in digits:
    labels = split.labels()
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, split.read(np.arange(360))["label"])
    labels[:] = 0  # a copy
    assert split.labels().any()


def test_labels_are_read_without_images(digits, monkeypatch):
  disk = digits[1]
  monkeypatch.setattr(disk, "_image", None)
  assert len(disk.labels()) == 360
