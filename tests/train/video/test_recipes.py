"""The papers' configs: all of it fits together at full size; nothing is compiled."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.conftest import ROOT
from train import run
from train.learn import Learned, parameter_count
from train.task import Run
from train.video.classify import VideoStage

NAMES = [path.stem for path in sorted(pathlib.Path(ROOT / "configs").glob("*.py"))]
PAPERS = [name for name in NAMES if name.startswith(("kinetics400", "ucf101", "something2"))]
SIZES = {  # million parameters with 400 classes, as published; of other classes counted from them
  "kinetics400_c3d": 79.63,
  "kinetics400_i3d": 12.70,
  "kinetics400_r2plus1d_18": 31.51,
  "kinetics400_r3d_18": 33.37,
  "kinetics400_s3d": 8.32,
  "kinetics400_slowfast_8x8_r50": 34.57,
  "kinetics400_t3d_121": 25.58,
  "kinetics400_x3d_m": 3.79,
  "something2_slowfast_16x8_r50": 34.05,
  "ucf101_r2plus1d_34": 63.55,
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_is_whole(name):
  experiment = importlib.import_module(f"configs.{name}").get_config()
  stage = experiment.stages["classify"]
  assert isinstance(stage, VideoStage)
  classes = {"k": 400, "u": 101, "s": 174}[name[0]]
  side = experiment.data.short_side or 240
  shape = [side, side * 16 // 9, 3]
  about = {"num_classes": classes, "class_names": [str(i) for i in range(classes)]}
  task = run.make(Run(experiment, {}, about | {"frame_shape": shape}, lambda: {}), "classify")
  state = jax.eval_shape(task.init, jax.random.key(0), ())
  assert round(parameter_count(state.params) / 1e6, 2) == pytest.approx(SIZES[name], abs=0.011)
  frames = stage.sampling.frames
  batch = {
    "clip": jax.ShapeDtypeStruct((2, stage.test_views, frames, *shape), np.uint8),
    "size": jax.ShapeDtypeStruct((2, 2), jnp.int32),
  }
  learned = Learned(state.params, state.rest)
  scores = jax.eval_shape(lambda l, b: task.model.scores_of(l, b, stage.test_crops), learned, batch)
  assert scores.shape == (2, classes) and scores.dtype == jnp.float32
  clips = stage.sampling.test(300, 30.0, stage.test_views)
  assert clips.shape == (stage.test_views, frames) and clips.max() < 300


def test_all_of_them_are_here():
  assert set(PAPERS) == set(SIZES)
