"""Data that moved: touched, copied, under another path, they are the same; other data are not."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train.conftest import TINY, lines, states_of
from train.cli import OfRun
from train.images.sources import Folder
from train.verbs import VERBS
from train.workdir import Workdir


@pytest.fixture(autouse=True)
def standard_promotion():
  with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
    yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
  """A folder with photos, the datasets prepared of them, and a finished run on them."""
  from train.__main__ import main

  root = tmp_path_factory.mktemp("moved")
  for i, label in enumerate("xxxxxxxxyyyyyyyy"):
    path = root / "photos" / label / f"{i}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(i).integers(0, 256, (32, 32), np.uint8)
    Image.fromarray(pixels).save(path)
  with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
    patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    assert main(fit(root)) == 0
  return root


def fit(root, *more) -> list[str]:
  """The command line of the run in a copy of `kept`."""
  data = ["--data", "Folder", "--data.path", root / "photos", "--data.dir", root / "datasets"]
  lengths = {"steps": 4, "eval_every": 2, "checkpoint_every": 2, "batch_size": 8}
  steps = [word for name, n in lengths.items() for word in (f"--classifier.{name}", n)]
  rest = ["--workdir", root / "run", *data, *steps, "--parallel.devices", 1, *more]
  return [str(word) for word in ("fit", TINY.with_name("tiny_classifier.py"), *rest)]


@pytest.fixture
def moved(kept, tmp_path):
  """A copy of it all, whose files are new."""
  shutil.copytree(kept, tmp_path / "kept", copy_function=shutil.copy)
  config = tmp_path / "kept" / "run" / "config.json"
  config.write_text(config.read_text().replace(str(kept), str(tmp_path / "kept")))
  return tmp_path / "kept"


def prepared(root):
  return {path.name: path.stat().st_ino for path in (root / "datasets" / "folder").iterdir()}


def goes_on(here, kept, moved, *more):
  """Asserts that the run, stopped in its second half, ends as if nothing had happened."""
  shutil.rmtree(moved / "run" / "classifier" / "checkpoints" / "4")
  (moved / "run" / "classifier" / "done.json").unlink()
  status, out, err = here(*fit(moved, *more))
  assert status == 0 and "resumed after step 2" in out, out + err
  ours, theirs = states_of(moved / "run"), states_of(kept / "run")
  for path in theirs:
    np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)
  assert lines(moved / "run") == lines(kept / "run")


def test_files_that_are_new_are_the_same_data(here, kept, moved):
  before = prepared(moved)
  goes_on(here, kept, moved)
  assert prepared(moved) == before


def test_another_path_and_other_datasets(here, kept, moved, tmp_path):
  (moved / "photos").rename(tmp_path / "pictures")
  before, more = prepared(moved), ("--data.path", tmp_path / "pictures")
  status, _, err = here("evaluate", moved / "run")
  assert status == 2 and "data.path: no folder" in err
  status, out, err = here("evaluate", moved / "run", *more)
  assert status == 0 and "accuracy" in out, err
  status, _, err = here("evaluate", moved / "run", *more, "--data.image_size", 16)
  assert status == 2 and "was begun with other data (data.image_size: None -> 16)" in err
  status, _, err = here("evaluate", moved / "run", "--data.pth=x")
  assert status == 2 and "unknown field --data.pth; did you mean --data.path?" in err
  assert Workdir(moved / "run").config().data.path == str(moved / "photos")
  goes_on(here, kept, moved, *more, "--data.dir", tmp_path / "new")
  assert list(before) == [path.name for path in (tmp_path / "new" / "folder").iterdir()]
  assert Workdir(moved / "run").config().data.path == str(tmp_path / "pictures")
  status, _, err = here("evaluate", moved / "run")  # it knows the new path
  assert status == 0, err


OF_IMAGES = [
  name for name, verb in VERBS.items() if issubclass(verb, OfRun) and verb.subject in ("images", "")
]


@pytest.mark.parametrize("verb", OF_IMAGES)
def test_every_verb_of_a_run_is_told_where_the_data_are(verb, kept):
  needs = {"score": ["--classifier", "c"], "inpaint": ["--box", 0, 0, 1, 1]}.get(verb, [])
  words = ["--data.path", "x", kept / "run", "--data.num_threads=3", *needs]
  source = VERBS[verb].read([*map(str, words)]).source()
  assert isinstance(source, Folder) and (source.path, source.num_threads) == ("x", 3)


def test_what_differs_is_named(here, moved):
  photos = moved / "photos"
  (photos / "x" / "0.png").unlink()
  Image.new("L", (32, 32)).save(photos / "x" / "1.png")
  Image.new("L", (32, 32)).save(photos / "y" / "new.png")
  status, _, err = here(*fit(moved))
  name = r"folder/[0-9a-f]{16}/1\.0\.0"
  said = r"1 added \(y/new\.png\), 1 gone \(x/0\.png\), 1 changed \(x/1\.png\)"
  assert status == 2 and re.search(rf"data \({name} -> {name}; files: {said}\); restore", err), err
  shutil.rmtree(moved / "datasets")  # as on another machine
  status, _, err = here("evaluate", moved / "run")
  assert status == 2 and re.search(rf"other data \({name} -> {name}\); restore", err), err


def as_before(root):
  """As the version before left it, which named a dataset by its files' times."""
  (dataset,) = (root / "datasets" / "folder").iterdir()
  (dataset / "1.0.0" / "files.json").unlink()
  shutil.rmtree(root / "datasets" / ".hashes")
  dataset.rename(dataset.with_name("photos-0123456789abcdef"))
  config = root / "run" / "config.json"
  record = json.loads(config.read_text())
  config.write_text(json.dumps(record | {"data": "folder/photos-0123456789abcdef/1.0.0"}))
  return config, record["data"]


def test_a_run_of_before_goes_on_where_its_dataset_holds_the_same(here, kept, moved):
  config, name = as_before(moved)
  status, _, err = here("evaluate", moved / "run")
  assert status == 0, err
  goes_on(here, kept, moved)
  assert json.loads(config.read_text())["data"] == name
  assert len(prepared(moved)) == 2


def test_a_run_of_before_whose_dataset_is_gone_says_what_to_do(here, kept, moved):
  config, name = as_before(moved)
  shutil.rmtree(moved / "datasets")
  status, _, err = here(*fit(moved))
  assert status == 2 and err.count("\n") == 1
  assert f'set "data" to "{name}" in {config}' in err
  config.write_text(config.read_text().replace("folder/photos-0123456789abcdef/1.0.0", name))
  goes_on(here, kept, moved)
