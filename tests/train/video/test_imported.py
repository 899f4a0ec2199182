"""Published weights become a run that is done, whole or not at all."""

import dataclasses
import json
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train import run
from train.errors import BadInput, Damaged
from train.video import imported
from train.video.imported import Imported
from vqlab import interop, video

NAME, CLASSES = "x3d_xs", 7


def variables_of(model) -> dict:
  """Random ones."""
  clip = jnp.zeros((1, *video.input_shape(NAME)))
  shapes, random = jax.eval_shape(model.init, jax.random.key(0), clip), np.random.default_rng(0)
  return jax.tree.map(lambda x: random.uniform(0.5, 1.5, x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def model():
  return video.create(NAME, CLASSES)


@pytest.fixture(scope="module")
def variables(model):
  return variables_of(model)


@pytest.fixture(scope="module")
def tensors(model, variables):
  return interop.to_torch(NAME, variables, model=model, project="pytorchvideo")


@pytest.fixture(scope="module")
def file(tensors, tmp_path_factory):
  path = tmp_path_factory.mktemp("published") / "weights.npz"
  np.savez(path, **tensors)
  return path


@pytest.fixture(scope="module")
def folder(file, tmp_path_factory):
  """Of a run that is done, whose file is gone. Read it, never write to it."""
  folder = tmp_path_factory.mktemp("runs") / "x3d"
  gone = shutil.copy(file, folder.parent / "gone.npz")
  stage, _ = imported.read(NAME, gone)
  run.fit(imported.experiment(stage), folder)
  (folder.parent / "gone.npz").unlink()
  return folder


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_is_loaded_without_the_file(folder, model, variables):
  done = run.load(folder).the(Imported)
  assert done.model == model and done.stage.layout == "pytorchvideo"
  assert_same(done.learned, dict(variables))
  assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(done.learned))
  assert done.figures["classes"] == CLASSES
  count = sum(x.size for x in jax.tree.leaves(variables["params"]))
  assert done.figures["million_parameters"] == pytest.approx(count / 1e6)


def test_what_a_project_has_otherwise_is_kept_with_the_run(tmp_path):
  """PySlowFast's X3D has norms that `create` leaves out."""
  model = video.create(NAME, CLASSES, shortcut_norm=True)
  variables = variables_of(model)
  tensors = interop.to_torch(NAME, variables, model=model, project="PySlowFast")
  np.savez(tmp_path / "weights.npz", **tensors)
  stage, read = imported.read(NAME, tmp_path / "weights.npz")
  assert stage.layout == "PySlowFast" and stage.network() == model
  assert_same(jax.device_get(read), dict(variables))


def test_import_and_evaluate(here, file, tmp_path):
  args = ["import", NAME, file, "--workdir", tmp_path / "run"]
  status, out, err = here(*args)
  assert status == 0 and not err
  assert "weights: x3d_xs of 7 classes, named as pytorchvideo does" in out
  assert "x3d_xs is done\n" in out and "split" not in out
  status, out, err = here(*args)
  assert status == 0 and not err and "weights: done\n" in out
  status, out, err = here("evaluate", tmp_path / "run")
  assert status == 0 and not err
  assert "parameters" in out and "2.99 million" in out and "split" not in out
  status, _, err = here("sample", tmp_path / "run")
  assert status == 2 and err.count("\n") == 1


def test_another_file_or_network_is_refused(here, file, folder, tensors, tmp_path):
  before = json.loads((folder / "config.json").read_text())
  np.savez(tmp_path / "other.npz", **{key: x + 1 for key, x in tensors.items()})
  for args, said in (
    ([NAME, tmp_path / "other.npz"], "begun with another config (weights.sha256: "),
    (["x3d_s", file], "holds the experiment 'x3d_xs', not 'x3d_s'"),
  ):
    status, _, err = here("import", *args, "--workdir", folder)
    assert status == 2 and err.count("\n") == 1 and said in err
  assert json.loads((folder / "config.json").read_text()) == before


@pytest.mark.parametrize(
  ("name", "change", "said"),
  [
    ("x3d_q", None, "no network is called 'x3d_q'; did you mean x3d_"),
    ("densenet3d_121", None, "no weights were published"),
    ("i3d", None, "named as in none of the layouts known"),
    (NAME, lambda data: data[:-100], "cut short or damaged"),
    (NAME, lambda data: b"<html>", "it is a web page"),
    (NAME, lambda data: b"\x80\x02cposix\nsystem\nU\x05touch\x85R.", "calls for posix.system"),
  ],
)
def test_bad_input_leaves_no_folder(here, file, tmp_path, name, change, said):
  path, folder = tmp_path / "weights.pth", tmp_path / "run"
  path.write_bytes(change(file.read_bytes()) if change else file.read_bytes())
  status, out, err = here("import", name, path, "--workdir", folder)
  assert status == 2 and not out and err.count("\n") == 1 and said in err, err
  assert not folder.exists()


def test_tensors_that_do_not_fit_leave_no_folder(here, tensors, tmp_path):
  key = "blocks.1.res_blocks.0.branch2.conv_a.weight"
  changes = {
    f"missing: {key}": {k: x for k, x in tensors.items() if k != key},
    "unexpected: extra": {**tensors, "extra": np.ones(3)},
    f"{key!r} holds NaN": {**tensors, key: tensors[key] * np.nan},
  }
  for said, changed in changes.items():
    np.savez(tmp_path / "weights.npz", **changed)
    status, _, err = here("import", NAME, tmp_path / "weights.npz", "--workdir", tmp_path / "run")
    assert status == 2 and err.count("\n") == 1 and said in err, err
  status, _, err = here("import", NAME, tmp_path / "gone.pth", "--workdir", tmp_path / "run")
  assert status == 2 and err.count("\n") == 1 and "gone.pth is missing" in err
  assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_is_damaged_is_made_anew(here, file, folder, tmp_path):
  damaged = tmp_path / "run"
  shutil.copytree(folder, damaged)
  (damaged / "weights" / "checkpoints" / "0" / "default" / "_METADATA").write_bytes(b"{")
  with pytest.warns(UserWarning, match="can't be read"), pytest.raises(Damaged):
    run.load(damaged)
  with warnings.catch_warnings():
    warnings.simplefilter("always")  # as of a program: it prints them
    status, out, err = here("import", NAME, file, "--workdir", damaged)
  assert status == 0 and "what is damaged is done again" in out and "can't be read" in err
  assert_same(run.load(damaged).the(Imported).learned, run.load(folder).the(Imported).learned)
  shutil.rmtree(damaged / "weights" / "checkpoints")
  with pytest.raises(Damaged, match="holds no weights; run import again"):
    run.load(damaged)


def test_begun_and_not_finished_goes_on(here, file, folder, tmp_path):
  begun = tmp_path / "run"
  shutil.copytree(folder, begun)
  (begun / "weights" / "done.json").unlink()
  for part in begun.glob("weights/checkpoints/**/commit_success.txt"):
    part.unlink()
  with pytest.raises(BadInput, match="'weights' is not finished"):
    run.load(begun)
  status, _, err = here("import", NAME, file, "--workdir", begun)
  assert status == 0 and not err
  assert_same(run.load(begun).the(Imported).learned, run.load(folder).the(Imported).learned)


def test_a_layout_that_is_none_of_the_networks(folder):
  stage = dataclasses.replace(run.load(folder).the(Imported).stage, layout="torchvision")
  with pytest.raises(ValueError, match="there are pytorchvideo, PySlowFast"):
    stage.network()
