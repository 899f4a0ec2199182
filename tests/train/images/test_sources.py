"""Datasets that others prepared: their splits, what is kept of them, and what can't be used."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from train.config import Experiment
from train.data import prepare
from train.errors import BadInput
from train.fields import check
from train.images.sources import Digits, Folder, Tfds


def write_dataset(root, *, splits=("train", "test"), features=None, growth=0, unlabelled=()):
  """A dataset written as any other program would: 5 images to a split, labels 0, 1, 2, 0, 1.

  growth: how much higher each image is than the one before; unlabelled: splits with labels of -1.
  """
  features = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "label": tfds.features.ClassLabel(names=["ant", "bee", "cow"]),
    "id": tfds.features.Scalar(np.int64),
  } | (features or {})
  features = {key: feature for key, feature in features.items() if feature is not None}
  encoded = isinstance(features.get("image"), tfds.features.Image)

  def examples(split, first):
    for i in range(first, first + 5):
      pixels = np.full((6 + growth * i, 8, 3), i, np.uint8)
      image = Image.fromarray(pixels) if encoded else pixels
      label = -1 if split in unlabelled else (i - first) % 3
      example = {"image": image, "label": label, "id": i}
      yield i, {key: example[key] for key in features}

  class Outside(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
      return {name: examples(name, 10 * i) for i, name in enumerate(splits)}

    def _generate_examples(self):
      raise NotImplementedError  # abstract in TFDS

  return prepare.prepare(Outside, None, str(root))


def outside(root, **fields):
  return Tfds(name="outside", dir=str(root), **fields)


def names(splits):
  return {which: split.name.removeprefix("outside/1.0.0 ") for which, split in splits.items()}


def read(split):
  return split.read(np.arange(len(split))).values()


def test_dataset_by_name(tmp_path):
  write_dataset(tmp_path)
  assert outside(tmp_path).prepare() == "outside/1.0.0"
  splits = outside(tmp_path).open()
  assert names(splits) == {"train": "train", "eval": "test"}  # of which figures are, too
  assert [len(split) for split in splits.values()] == [5, 5]
  assert splits["train"].image_shape == (6, 8, 3)
  assert splits["train"].class_names == ("ant", "bee", "cow")
  images, labels = read(splits["eval"])
  np.testing.assert_array_equal((images[:, 0, 0, 0] - 10) % 3, labels)
  part = outside(tmp_path, train_split="train[:2]", channels=1, image_size=4).open()["train"]
  assert len(part) == 2
  assert part.image_shape == (4, 4, 1)


def test_validation_is_chosen_by_and_test_reported_on(tmp_path):
  write_dataset(tmp_path, splits=("train", "test", "validation"))
  three = {"train": "train", "eval": "validation", "test": "test"}
  two = {"train": "train", "eval": "test"}
  parts = {"train": "train[:3]", "eval": "train[3:]", "test": "test"}
  for fields, expected in (
    ({}, three),
    ({"eval_split": "test"}, two),
    ({"eval_split": "test[:3]"}, two | {"eval": "test[:3]"}),
    ({"train_split": "train[:3]", "eval_split": "train[3:]"}, parts),
    ({"test_split": "test[:3]"}, three | {"test": "test[:3]"}),
    (
      {"eval_split": "test[:3]", "test_split": "test[3:]"},
      two | {"eval": "test[:3]", "test": "test[3:]"},
    ),
  ):
    assert names(outside(tmp_path, **fields).open()) == expected


def test_a_test_split_without_labels_is_used_only_if_named(tmp_path):
  write_dataset(tmp_path, splits=("train", "validation", "test"), unlabelled=("test",))
  two = {"train": "train", "eval": "validation"}
  assert names(outside(tmp_path).open()) == two
  named = outside(tmp_path, test_split="test").open()
  assert names(named) == two | {"test": "test"}
  assert named["test"].labels().tolist() == [-1] * 5


def test_without_labels(tmp_path):
  write_dataset(tmp_path, splits=("train", "validation", "test"), features={"label": None})
  splits = outside(tmp_path).open()
  assert splits.keys() == {"train", "eval", "test"}
  assert (splits["train"].num_classes, splits["train"].class_names) == (0, ())
  _, labels = read(splits["train"])
  assert labels.tolist() == [0] * 5


def test_images_as_arrays(tmp_path):
  array = tfds.features.Tensor(shape=(6, 8, 3), dtype=np.uint8)
  write_dataset(tmp_path, features={"image": array})
  images, labels = read(outside(tmp_path).open()["train"])
  assert images.shape == (5, 6, 8, 3)
  np.testing.assert_array_equal(images[:, 0, 0, 0] % 3, labels)


def test_what_is_kept_of_the_data(tmp_path, data_dir):
  write_dataset(tmp_path, features={"label": None})
  for source in (Digits(dir=str(data_dir)), outside(tmp_path)):
    splits = source.open()
    about = json.loads(json.dumps(source.about(splits)))
    train = splits["train"]
    assert about["image_shape"] == list(train.image_shape)
    assert about["num_classes"] == train.num_classes
    assert about["class_names"] == list(train.class_names)
    images = train.read(np.arange(min(len(train), 1024)))["image"]
    assert about["variance"] == pytest.approx(np.var(images / 255), rel=1e-12)
    assert about.keys() == {"image_shape", "num_classes", "class_names", "variance"}


def test_a_subclass_reads_the_same_dataset(data_dir):
  @dataclasses.dataclass(frozen=True)
  class Small(Digits):
    image_size: int | None = 8

  small, own = Small(dir=str(data_dir)), Digits(dir=str(data_dir))
  assert small.prepare() == own.prepare() == "digits/1.0.0"
  assert small.open()["train"].image_shape == (8, 8, 1)


def test_variance_of_large_images_and_of_none(tmp_path, data_dir, monkeypatch):
  train = Digits(dir=str(data_dir)).open()["train"]
  monkeypatch.setattr("train.images.split._PIXELS", 100 * 32 * 32)
  images = train.read(np.arange(100))["image"]
  assert train.variance() == pytest.approx(np.var(images / 255), rel=1e-12)
  Image.new("L", (4, 4), 9).save(tmp_path / "grey.png")
  source = Folder(path=str(tmp_path), dir=str(tmp_path / ".tfds"), eval_split="train")
  assert source.open()["train"].variance() == 1e-6  # what errors are divided by


def test_unequal_sizes_need_image_size(tmp_path):
  write_dataset(tmp_path, growth=1)
  for cache in (True, False):
    with pytest.raises(BadInput, match=r"example \d is \d+x8x3.*set data\.image_size"):
      read(outside(tmp_path, cache=cache).open()["train"])
  assert outside(tmp_path, image_size=5).open()["train"].image_shape == (5, 5, 3)


@pytest.mark.parametrize("name", ["dev", "test[", "tset[:3]", "test[:0]"])
@pytest.mark.parametrize("field", ["train_split", "eval_split", "test_split"])
def test_unknown_split(data_dir, field, name):
  with pytest.raises(BadInput, match=rf"data\.{field}: .*train \(1437 examples\)") as raised:
    Digits(dir=str(data_dir), **{field: name}).open()
  assert "\n" not in str(raised.value)


def test_splits_that_are_not_there(tmp_path):
  write_dataset(tmp_path, splits=("train",))
  with pytest.raises(BadInput, match=r"data\.eval_split: .* no split validation or test; name one"):
    outside(tmp_path).open()
  assert names(outside(tmp_path, eval_split="train[4:]").open())["eval"] == "train[4:]"


def test_dataset_without_images(tmp_path):
  write_dataset(tmp_path, features={"image": None})
  with pytest.raises(BadInput, match=r"needs a feature 'image' .* id, label"):
    outside(tmp_path).open()


@pytest.mark.parametrize("damage", ["", "{}", "3"])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_dataset_whose_description_is_damaged_is_named(tmp_path, name, damage):
  folder = write_dataset(tmp_path)
  (folder / name).write_text(damage)
  with pytest.raises(BadInput, match=f"^{folder}: damaged .*; delete it and prepare it") as raised:
    outside(tmp_path).open()
  assert "\n" not in str(raised.value)


def test_damaged_dataset_is_named(tmp_path):
  for shard in write_dataset(tmp_path).glob("*train*"):
    shard.unlink()
  with pytest.raises(BadInput, match=r"1\.0\.0: damaged .* delete it") as raised:
    outside(tmp_path).open()
  assert "\n" not in str(raised.value)


def test_dataset_of_another_format_is_named(tmp_path):
  info = write_dataset(tmp_path) / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  with pytest.raises(BadInput, match="stored as tfrecord; prepare it with file_format='array_rec"):
    outside(tmp_path).open()


@pytest.mark.parametrize(
  ("source", "message"),
  [
    (Digits(channels=2), r"data\.channels is 2"),
    (Digits(image_size=0), r"data\.image_size is 0; it must be at least 1"),
    (Digits(num_threads=-1), r"data\.num_threads is -1; it must be at least 0"),
    (Digits(prefetch=-1), r"data\.prefetch is -1; it must be at least 0"),
    (Folder(eval_fraction=1.0), r"data\.eval_fraction is 1\.0; it must be at most 0\.999"),
    (Folder(tile=-1), r"data\.tile is -1; it must be at least 0"),
    (Folder(tile_stride=-1), r"data\.tile_stride is -1; it must be at least 0"),
    (Folder(hold_out="alphabets"), r"data\.hold_out is 'alphabets'; it must be one of 'examples',"),
  ],
)
def test_impossible_fields(source, message):
  with pytest.raises(BadInput, match=message):
    check(Experiment(data=source))


def test_default_directory_is_that_of_tfds(tmp_path, monkeypatch):
  write_dataset(tmp_path)
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  source = Tfds(name="outside")
  assert source.dataset() == pathlib.Path(tmp_path / "outside" / "1.0.0")
  assert source.prepare() == "outside/1.0.0"
