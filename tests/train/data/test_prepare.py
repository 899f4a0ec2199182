"""Prepared datasets: found by name, whole or not there, and clear words where they are not."""

import multiprocessing
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from train.data import Data, open_split, prepare
from train.data.builders.digits import digits_dataset_builder
from train.errors import BadInput

ROOT = pathlib.Path(__file__).resolve().parents[3]


def write_dataset(
  root,
  *,
  name="outside",
  config=None,
  version="1.0.0",
  splits=("train", "test"),
  features=None,
  growth=0,
):
  """A dataset written as any other program would: 5 images to a split, labels 0, 1, 2, 0, 1."""
  features = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "label": tfds.features.ClassLabel(names=["ant", "bee", "cow"]),
    "id": tfds.features.Scalar(np.int64),
  } | (features or {})
  features = {key: feature for key, feature in features.items() if feature is not None}
  encoded = isinstance(features.get("image"), tfds.features.Image)

  def examples(first):
    for i in range(first, first + 5):
      pixels = np.full((6 + growth * i, 8, 3), i, np.uint8)
      image = Image.fromarray(pixels) if encoded else pixels
      example = {"image": image, "label": (i - first) % 3, "id": i}
      yield i, {key: example[key] for key in features}

  class Outside(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version(version)

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
      return {name: examples(10 * i) for i, name in enumerate(splits)}

    def _generate_examples(self):
      raise NotImplementedError  # abstract in TFDS

  Outside.name = name
  config = config and tfds.core.BuilderConfig(name=config)
  tfds.disable_progress_bar()
  builder = Outside(data_dir=root, config=config, file_format="array_record")
  builder.download_and_prepare()
  return pathlib.Path(builder.data_dir)


def outside(root, name="outside", **fields):
  return Data(source="tfds", name=name, dir=str(root), **fields)


def test_dataset_by_name(tmp_path):
  write_dataset(tmp_path)
  train, test = (open_split(outside(tmp_path), which) for which in ("train", "eval"))
  assert (len(train), len(test)) == (5, 5)
  assert train.image_shape == (6, 8, 3)
  assert train.class_names == ("ant", "bee", "cow")
  images, labels = test.gather(range(5))
  np.testing.assert_array_equal((images[:, 0, 0, 0] - 10) % 3, labels)
  part = open_split(outside(tmp_path, train_split="train[:2]", channels=1, image_size=4), "train")
  assert len(part) == 2
  assert part.image_shape == (4, 4, 1)


def test_validation_goes_before_test(tmp_path):
  write_dataset(tmp_path, splits=("train", "test", "validation"))
  assert open_split(outside(tmp_path), "eval").name == "outside/1.0.0 validation"
  assert open_split(outside(tmp_path, eval_split="test"), "eval").name == "outside/1.0.0 test"


def test_without_labels(tmp_path):
  write_dataset(tmp_path, features={"label": None})
  split = open_split(outside(tmp_path), "train")
  assert (split.num_classes, split.class_names) == (0, ())
  assert split.gather(range(5))[1].tolist() == [0] * 5


def test_images_as_arrays(tmp_path):
  array = tfds.features.Tensor(shape=(6, 8, 3), dtype=np.uint8)
  write_dataset(tmp_path, features={"image": array})
  images, labels = open_split(outside(tmp_path), "train").gather(range(5))
  assert images.shape == (5, 6, 8, 3)
  np.testing.assert_array_equal(images[:, 0, 0, 0] % 3, labels)


def test_newest_version_and_config(tmp_path):
  for version in ("1.9.0", "1.10.0"):
    write_dataset(tmp_path, config="small", version=version)
  assert open_split(outside(tmp_path), "train").name == "outside/small/1.10.0 train"
  older = outside(tmp_path, "outside/small:1.9.0")
  assert open_split(older, "train").name == "outside/small/1.9.0 train"
  write_dataset(tmp_path, config="large")
  with pytest.raises(BadInput, match="one of outside/large, outside/small"):
    prepare(outside(tmp_path))


def test_absent_dataset_names_what_is_there(tmp_path):
  with pytest.raises(BadInput, match=r"data\.name: no 'mnist' among .*there are none"):
    prepare(outside(tmp_path, "mnist"))
  write_dataset(tmp_path)
  for name in ("mnist", "outside:2.0.0", "outside/small", "out"):
    with pytest.raises(BadInput, match=r"outside:1\.0\.0.*data\.dir") as raised:
      prepare(outside(tmp_path, name))
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
  with pytest.raises(BadInput, match=r"data\.name: empty"):
    prepare(outside(tmp_path, ""))


def test_unequal_sizes_need_image_size(tmp_path):
  write_dataset(tmp_path, growth=1)
  for cache in (True, False):
    with pytest.raises(BadInput, match=r"example \d is \d+x8x3.*set data\.image_size"):
      open_split(outside(tmp_path, cache=cache), "train").gather(range(5))
  assert open_split(outside(tmp_path, image_size=5), "train").image_shape == (5, 5, 3)


@pytest.mark.parametrize("name", ["dev", "test[", "tset[:3]", "test[:0]"])
def test_unknown_split(tmp_path, name):
  with pytest.raises(BadInput, match=r"data\.eval_split: .*train \(1437 examples\)") as raised:
    open_split(Data(dir=str(tmp_path), eval_split=name), "eval")
  assert "\n" not in str(raised.value)


def test_dataset_without_images(tmp_path):
  write_dataset(tmp_path, features={"image": None})
  with pytest.raises(BadInput, match=r"needs a feature 'image' .* id, label"):
    open_split(outside(tmp_path), "train")


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"source": "mnist"},
      r"data\.source: 'mnist'; give one of digits, idx, folder, omniglot, tfds",
    ),
    ({"channels": 2}, r"data\.channels: 2"),
    ({"image_size": 0}, r"data\.image_size: 0"),
    ({"eval_fraction": 1.0}, r"data\.eval_fraction: 1\.0"),
    ({"num_threads": -1}, r"data.*num_threads=-1"),
  ],
)
def test_impossible_fields(fields, message):
  with pytest.raises(BadInput, match=message):
    prepare(Data(**fields))


def test_directory_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(BadInput, match=r"data\.dir: can't write to"):
    prepare(Data(dir=str(tmp_path / "file")))


def test_default_directory_is_that_of_tfds(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  assert prepare(Data()) == tmp_path / "digits" / "1.0.0"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_preparation_leaves_nothing_and_is_done_anew(tmp_path, monkeypatch, error):
  def interrupted(self, rows, images, labels):
    yield 0, {"image": Image.fromarray(images[0]), "label": 0}
    raise error

  with monkeypatch.context() as patch:
    patch.setattr(digits_dataset_builder.Builder, "_generate_examples", interrupted)
    with pytest.raises(error):
      prepare(Data(dir=str(tmp_path)))
  assert not list(tmp_path.iterdir())
  assert len(open_split(Data(dir=str(tmp_path)), "train")) == 1437


def test_a_killed_preparation_is_not_taken_for_a_dataset(tmp_path):
  leftover = write_dataset(tmp_path / ".preparing-x")
  assert leftover.is_dir()
  with pytest.raises(BadInput, match="there are none"):
    prepare(outside(tmp_path))


def test_what_is_in_the_way_is_named(tmp_path):
  (tmp_path / "digits" / "1.0.0").mkdir(parents=True)
  (tmp_path / "digits" / "1.0.0" / "part").write_text("")
  with pytest.raises(BadInput, match=r"1\.0\.0: in the way, and not a whole dataset"):
    prepare(Data(dir=str(tmp_path)))


def test_damaged_dataset_is_named(tmp_path):
  folder = prepare(Data(dir=str(tmp_path)))
  for shard in folder.glob("*train*"):
    shard.unlink()
  with pytest.raises(BadInput, match=r"1\.0\.0: damaged .* delete it"):
    open_split(Data(dir=str(tmp_path)), "train")


def _prepare(folder, barrier):
  barrier.wait()
  os._exit(0 if len(open_split(Data(dir=folder), "train")) == 1437 else 1)


def test_two_processes_prepare_at_once(tmp_path):
  context = multiprocessing.get_context("spawn")
  barrier = context.Barrier(2)
  processes = [context.Process(target=_prepare, args=(str(tmp_path), barrier)) for _ in range(2)]
  for process in processes:
    process.start()
  for process in processes:
    process.join(60)
  assert [process.exitcode for process in processes] == [0, 0]
  assert [entry.name for entry in tmp_path.iterdir()] == ["digits"]
  assert len(open_split(Data(dir=str(tmp_path)), "train")) == 1437


def test_quiet_and_without_tensorflow(tmp_path):
  program = (
    "import sys; from train.data import *\n"
    f"s = open_split(Data(dir={str(tmp_path)!r}), 'train'); next(train_batches(s, 0, 0, 1, 8))\n"
    "assert 'tensorflow' not in sys.modules"
  )
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True
  )
  assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
