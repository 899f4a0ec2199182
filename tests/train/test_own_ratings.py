"""A stranger's config of interactions: killed and resumed, and the same on any devices."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest

from tests.train.conftest import (
  ROOT,
  assert_same,
  assert_same_run,
  lines,
  one_device,
  replaced,
  steps_of,
  survives_being_killed,
  untrained,
)  # fmt: skip
from tests.train.own import ratings
from train import parallel
from train.config import Parallel

CONFIG = ROOT / "tests" / "train" / "own" / "ratings.py"
USERS, ITEMS, TASTES = 96, 80, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Users of four tastes, each of whom takes half of the items of theirs."""
  folder, rng = tmp_path_factory.mktemp("ratings"), np.random.default_rng(0)
  taken = np.stack([
    rng.permutation(ITEMS // TASTES)[: ITEMS // TASTES // 2] * TASTES + u % TASTES
    for u in range(USERS)
  ]).astype(np.int32)  # fmt: skip
  users = np.arange(USERS, dtype=np.int32)
  train = {"user": np.repeat(users, taken.shape[1] - 1), "item": taken[:, 1:].reshape(-1)}
  np.savez(folder / "train.npz", **train)
  np.savez(folder / "eval.npz", user=users, item=taken[:, 0])
  return folder


@pytest.mark.slow
def test_it_learns_and_survives_being_killed(train, environment, folder, tmp_path, here):
  options = ("--data.path", folder, "--factors.steps", 150)
  whole, killed = survives_being_killed(CONFIG, options, train, environment, tmp_path)
  assert_same_run(killed, whole)
  # Of an own taste's 11 items that are left, 10 are recommended: nearly always the held-out one.
  recall = {r["step"]: r["recall@10"] for r in lines(whole) if r["kind"] == "eval"}
  record = json.loads((whole / "factors" / "done.json").read_text())
  assert record["figures"]["recall@10"] == max(recall.values()) > 0.7
  with open(whole / "factors" / "recommended.csv", newline="") as file:
    assert len(list(csv.reader(file))) == USERS + 1
  moved = shutil.copytree(folder, tmp_path / "moved", copy_function=shutil.copy)
  status, out, err = here("evaluate", whole, "--data.path", moved)
  assert status == 0 and "recall" in out, err


def test_every_device_the_same(folder):
  fields = {"param_dtype": "float64"}
  with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
    config = replaced(ratings.get_config(), factors=fields)
    data = ratings.Interactions(path=str(folder))
    task = untrained(ratings.dataclasses.replace(config, data=data))["factors"]
    many = parallel.make_mesh(Parallel(devices=min(4, jax.device_count())))
    ways = [(one_device(), "jit"), (many, "jit"), (many, "pmap")]
    alone, *others = (steps_of(task, *way, steps=3, batch_size=64)[1] for way in ways)
  for state in others:
    assert_same(state, alone, tolerance=1e-10)


def test_a_missing_column_is_named(here, folder, tmp_path):
  np.savez(tmp_path / "train.npz", user=np.arange(3))
  args = ("fit", CONFIG, "--workdir", tmp_path / "run", "--data.path", tmp_path)
  status, _, err = here(*args)
  assert status == 2 and "eval.npz" in err and err.count("\n") == 1
  assert not (tmp_path / "run").exists()
