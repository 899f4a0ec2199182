"""MNIST's file format, on files written here and on MNIST itself."""

import gzip
import shutil
import struct

import numpy as np
import pytest

from train.data.prepare import hold_the_same
from train.errors import BadInput
from train.images.builders.idx import FILES, read_idx
from train.images.sources import Idx


def write_idx(path, array):
  content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
  path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx_folder(tmp_path):
  """Five images to train on, plain, and three to test on, gzipped."""
  folder = tmp_path / "tiny"
  folder.mkdir()
  rng = np.random.default_rng(0)
  for (split, names), n, suffix in zip(FILES.items(), (5, 3), ("", ".gz"), strict=True):
    images = rng.integers(0, 256, (n, 4, 6)).astype(np.uint8)
    labels = (np.arange(n) % 3).astype(np.uint8)
    np.savez(tmp_path / split, images=images, labels=labels)
    write_idx(folder / f"{names[0]}{suffix}", images)
    write_idx(folder / f"{names[1]}{suffix}", labels)
  return folder


def test_reads_what_was_written(idx_folder, tmp_path):
  splits = Idx(path=str(idx_folder), dir=str(tmp_path / "tfds")).open()
  assert splits.keys() == {"train", "eval"}
  for split, split_name in zip(splits.values(), ("train", "test"), strict=True):
    written = np.load(tmp_path / f"{split_name}.npz")
    assert split.image_shape == (4, 6, 1)
    assert split.num_classes == 3
    images, labels = split.read(np.arange(len(split))).values()
    order = np.lexsort(images.reshape(len(images), -1).T[::-1])
    expected = np.lexsort(written["images"].reshape(len(images), -1).T[::-1])
    np.testing.assert_array_equal(images[order, ..., 0], written["images"][expected])
    np.testing.assert_array_equal(labels[order], written["labels"][expected])


def test_wherever_they_lie_they_are_the_same_data(idx_folder, tmp_path):
  first = Idx(path=str(idx_folder), dir=str(tmp_path / "tfds")).dataset()
  copy = shutil.copytree(idx_folder, tmp_path / "copy", copy_function=shutil.copy)
  assert Idx(path=str(copy), dir=str(tmp_path / "tfds")).dataset() == first
  anew = Idx(path=str(copy), dir=str(tmp_path / "other")).dataset()
  assert anew.parent.name == first.parent.name and hold_the_same(anew, first)
  for name in sum(FILES.values(), ()):  # unzipped they are other files of the same examples
    if (zipped := copy / f"{name}.gz").exists():
      (copy / name).write_bytes(gzip.decompress(zipped.read_bytes()))
      zipped.unlink()
  source = Idx(path=str(copy), dir=str(tmp_path / "tfds"))
  before, now = f"idx/{first.parent.name}/1.0.0", source.prepare()
  assert before != now and source.differs(before, now) == ""


def cut(path):
  path.write_bytes(path.read_bytes()[:-1])


def overwrite(path):
  path.write_bytes(b"<html>not found</html>")


@pytest.mark.parametrize(
  ("name", "damage", "message"),
  [
    (FILES["train"][0], cut, "119 bytes after the header, which promises 5x4x6 = 120"),
    (
      FILES["train"][1],
      overwrite,
      "22 bytes from 3c 68 74 6d on; an idx file .* from 00 00 08 01 on",
    ),
    (FILES["test"][0] + ".gz", cut, "can't be read"),
    (FILES["test"][1] + ".gz", overwrite, "can't be read"),
    (FILES["train"][1], lambda p: write_idx(p, np.zeros(4, np.uint8)), "4 labels for 5 images"),
    (
      FILES["train"][0],
      lambda p: p.write_bytes(p.read_bytes()[:10]),
      "10 bytes .*; an idx file has at least 16",
    ),
    (FILES["train"][0], lambda p: p.unlink(), "no file train-images-idx3-ubyte"),
  ],
)
def test_damaged_file_is_named(idx_folder, tmp_path, name, damage, message):
  damage(idx_folder / name)
  with pytest.raises(BadInput, match=message) as raised:
    Idx(path=str(idx_folder), dir=str(tmp_path / "tfds")).open()
  assert name.removesuffix(".gz") in str(raised.value)
  assert "\n" not in str(raised.value)
  assert not list((tmp_path / "tfds").glob("*"))


def test_splits_are_of_one_size(idx_folder, tmp_path):
  (idx_folder / (FILES["train"][0])).unlink()
  write_idx(idx_folder / FILES["train"][0], np.zeros((5, 3, 3), np.uint8))
  with pytest.raises(BadInput, match=r"test images are \(4, 6\), those of train \(3, 3\) pixels"):
    Idx(path=str(idx_folder), dir=str(tmp_path / "tfds")).open()


def test_files_of_mnist(shared_data):
  for (images, labels), count in zip(FILES.values(), (60_000, 10_000), strict=True):
    assert read_idx(shared_data / "mnist" / f"{images}.gz", dims=3).shape == (count, 28, 28)
    found = np.bincount(read_idx(shared_data / "mnist" / f"{labels}.gz", dims=1))
    assert len(found) == 10 and found.sum() == count


@pytest.mark.slow
def test_mnist(shared_data, tmp_path):
  train, test = Idx(path=str(shared_data / "mnist"), dir=str(tmp_path)).open().values()
  assert (len(train), len(test)) == (60_000, 10_000)
  assert train.image_shape == (28, 28, 1)
  assert train.num_classes == 10

  images, labels = test.read(np.arange(len(test))).values()
  folder = shared_data / "mnist"
  original = read_idx(folder / f"{FILES['test'][0]}.gz", dims=3)
  original_labels = read_idx(folder / f"{FILES['test'][1]}.gz", dims=1)
  label_of = {i.tobytes(): n for i, n in zip(original, original_labels, strict=True)}
  assert len(label_of) == 10_000
  assert {i.tobytes(): n for i, n in zip(images, labels, strict=True)} == label_of
