"""A stranger's config of clips: killed and resumed, and the same on any devices."""

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
from tests.train.own import clips
from train import parallel
from train.config import Parallel
from train.data import batch

CONFIG = ROOT / "tests" / "train" / "own" / "clips.py"


@pytest.mark.slow
def test_it_learns_and_survives_being_killed(train, environment, tmp_path):
  options = ("--classify.steps", 40, "--classify.eval_every", 20, "--log.every", 5)
  whole, killed = survives_being_killed(CONFIG, options, train, environment, tmp_path)
  states = assert_same_run(killed, whole)
  assert any("batch_stats" in k or "rest" in k for k in states)
  best = max(r["accuracy"] for r in lines(whole) if r["kind"] == "eval")
  assert best > 0.9
  status, out, _ = train("evaluate", killed)
  assert status == 0 and f"{best:.1%}" in out


def test_every_device_the_same():
  fields = {"dtype": "float64", "param_dtype": "float64"}
  with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
    task = untrained(replaced(clips.get_config(), classify=fields))["classify"]
    many = parallel.make_mesh(Parallel(devices=min(4, jax.device_count())))
    ways = [(one_device(), "jit"), (many, "jit"), (many, "pmap")]
    alone, *others = (steps_of(task, *way, steps=3, batch_size=32)[1] for way in ways)
  assert alone.params["Dense_0"]["kernel"].dtype == np.float64
  for state in others:
    assert_same(state, alone, tolerance=1e-10)


@pytest.mark.parametrize("count", [1, 2])
def test_a_clips_start_is_its_positions_own(count):
  examples = clips.MovingDigits().open()["train"]
  parts = [batch(examples, 0, 3, 8, process=(i, count))["clip"] for i in range(count)]
  whole = batch(examples, 0, 3, 8)["clip"]
  np.testing.assert_array_equal(np.concatenate(parts), whole)
  clips_read = batch(examples, 0, 0, 512)["clip"]
  videos = examples.videos[examples.training(0, 0, 512).indices]
  windows = np.stack([videos[:, start : start + 6] for start in range(7)], axis=1)
  same = (windows == clips_read[:, None]).all(axis=(2, 3, 4, 5))
  assert same.any(axis=1).all() and same.any(axis=0).all()  # each is one, and each is drawn
