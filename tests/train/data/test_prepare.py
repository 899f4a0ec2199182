"""Prepared datasets: found by name, whole or not there, and clear words where they are not."""

import errno
import os
import pathlib
import resource
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from train.data.prepare import data_dir, find_prepared, list_prepared, prepare
from train.errors import BadInput

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Numbers(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """The number 0."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    features = tfds.features.FeaturesDict({"x": tfds.features.Scalar(np.int64)})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    yield 0, {"x": 0}


def prepare_numbers(folder, builder=Numbers, config=None):
  return prepare(builder, config and tfds.core.BuilderConfig(name=config), str(folder))


def found(root, name):
  return find_prepared(root, name).relative_to(root).as_posix()


def put(root, *datasets):
  """Folders that look as if a dataset of that name had been prepared there."""
  for dataset in datasets:
    (root / dataset).mkdir(parents=True)
    (root / dataset / "dataset_info.json").touch()


def test_what_was_prepared_is_found_and_not_prepared_again(tmp_path):
  folder = prepare_numbers(tmp_path)
  assert folder == tmp_path / "numbers" / "1.0.0"
  assert [e["x"] for e in tfds.builder_from_directory(folder).as_data_source("train")] == [0]
  none = type("None_", (), {"name": "numbers", "VERSION": "1.0.0"})
  assert prepare_numbers(tmp_path, builder=none) == folder
  assert find_prepared(tmp_path, "numbers") == folder
  small = prepare_numbers(tmp_path, config="small")
  assert small == tmp_path / "numbers" / "small" / "1.0.0"
  assert list_prepared(tmp_path) == {"numbers:1.0.0": folder, "numbers/small:1.0.0": small}


def test_newest_version_and_config(tmp_path):
  put(tmp_path, "outside/small/1.9.0", "outside/small/1.10.0", "other/1.0.0")
  assert found(tmp_path, "outside") == "outside/small/1.10.0"
  assert found(tmp_path, "outside/small:1.9.0") == "outside/small/1.9.0"
  put(tmp_path, "outside/large/1.0.0")
  assert found(tmp_path, "outside/small") == "outside/small/1.10.0"
  with pytest.raises(BadInput, match="one of outside/large, outside/small"):
    find_prepared(tmp_path, "outside")


def test_absent_dataset_names_what_is_there(tmp_path):
  with pytest.raises(BadInput, match=r"data\.name: no 'mnist' among .*there are none"):
    find_prepared(tmp_path, "mnist")
  put(tmp_path, "outside/1.0.0")
  for name in ("mnist", "outside:2.0.0", "outside/small", "out", ""):
    with pytest.raises(BadInput, match=r"outside:1\.0\.0.*data\.dir") as raised:
      find_prepared(tmp_path, name)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_killed_preparation_is_not_taken_for_a_dataset(tmp_path):
  put(tmp_path, ".preparing-x/outside/1.0.0", "outside/1.0.0.incomplete-y")
  with pytest.raises(BadInput, match="there are none"):
    find_prepared(tmp_path, "outside")


def test_directory_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(BadInput, match=r"data\.dir: can't write to .*file \("):
    prepare_numbers(tmp_path / "file")


def test_default_directory_is_that_of_tfds(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  assert data_dir() == tmp_path and data_dir("there") == pathlib.Path("there")
  monkeypatch.delenv("TFDS_DATA_DIR")
  assert data_dir() == pathlib.Path.home() / "tensorflow_datasets"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_preparation_leaves_nothing_and_is_done_anew(tmp_path, monkeypatch, error):
  def interrupted(self):
    yield 0, {"x": 1}
    raise error

  with monkeypatch.context() as patch:
    patch.setattr(Numbers, "_generate_examples", interrupted)
    with pytest.raises(error):
      prepare_numbers(tmp_path)
  assert not list(tmp_path.iterdir())
  assert prepare_numbers(tmp_path).is_dir()


@pytest.mark.parametrize("full", ["at an example", "at a record"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, full):
  """By a limit on the size of files, which the system tells in the same way."""

  def no_space(self):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  if full == "at an example":
    monkeypatch.setattr(Numbers, "_generate_examples", no_space)
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
  try:
    with pytest.raises(BadInput, match=r"data\.dir: can't write to .* \((No space|File)") as error:
      prepare_numbers(tmp_path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_what_is_in_the_way_is_named(tmp_path):
  (tmp_path / "numbers" / "1.0.0").mkdir(parents=True)
  (tmp_path / "numbers" / "1.0.0" / "part").write_text("")
  with pytest.raises(BadInput, match=r"1\.0\.0 is in the way \(.*\); delete it"):
    prepare_numbers(tmp_path)


def test_of_two_that_prepare_at_once_the_first_wins(tmp_path, monkeypatch):
  """While the other one writes its last examples, the first is done."""
  first, generate = [], Numbers._generate_examples

  def slow(self):
    yield from generate(self)
    with monkeypatch.context() as patch:
      patch.setattr(Numbers, "_generate_examples", generate)
      first.append(prepare_numbers(tmp_path))
    first.append([file.stat().st_ino for file in sorted(first[0].iterdir())])

  monkeypatch.setattr(Numbers, "_generate_examples", slow)
  folder = prepare_numbers(tmp_path)
  assert first == [folder, [file.stat().st_ino for file in sorted(folder.iterdir())]]
  assert [entry.name for entry in tmp_path.iterdir()] == ["numbers"]


def test_quiet_and_without_tensorflow(tmp_path):
  program = f"""
import sys
from train.data import train_batches
from train.images.sources import Digits
train = Digits(dir={str(tmp_path)!r}).open()["train"]
next(train_batches(train, 0, 0, 1, 8))
assert "tensorflow" not in sys.modules
"""
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True
  )
  assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
