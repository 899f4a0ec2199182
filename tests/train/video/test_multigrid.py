"""Multigrid training: every step costs the same, and the clips are one sequence without gaps."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from tests.train.conftest import one_device, replaced, steps_of, untrained
from tests.train.video import tiny_videos
from train.data import batch
from train.errors import BadInput
from train.video.crops import Jitter
from train.video.multigrid import Grid
from train.video.small import SmallSlowFast, SmallX3D
from vqlab.video import X3D

STEPS, ROWS = 24, 2


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


def task_of(**fields):
  plain = {"mixup": 0.0, "precise_norm": 0, "network": SmallX3D(width=4, dropout=0.0)}
  crops = Jitter(size=32, sides=(32,), flip=0.0, mean=(0.1,), std=(0.25,))
  grid = {"steps": STEPS, "batch_size": ROWS, "multigrid": 1, "crops": crops}
  return untrained(replaced(tiny_videos.get_config(), classify=plain | grid | fields))["classify"]


def test_shapes_are_the_papers():
  grid, steps = Grid(1, 12), np.arange(12)
  np.testing.assert_array_equal(grid.frames(steps), [4, 4, 4, 2, 2, 2, 2, 2, 2, 1, 1, 1])
  np.testing.assert_array_equal(grid.area(steps), [8, 4, 2, 8, 4, 2, 4, 2, 1, 4, 2, 1])
  np.testing.assert_array_equal(grid.batch(steps), [32, 16, 8, 16, 8, 4, 8, 4, 2, 4, 2, 1])
  rates = [float(grid.rate()(k)) for k in steps]
  np.testing.assert_array_equal(rates, [8] * 3 + [4] * 3 + [2] * 3 + [1] * 3)
  twice = Grid(2, 24)
  np.testing.assert_array_equal(twice.batch(np.arange(24)), np.tile(grid.batch(steps), 2))
  for steps in (7, 100, 1001):  # the rate changes where the shape does
    grid = Grid(3, steps)
    parts = grid.part(np.arange(steps))
    rates = [float(grid.rate()(k)) for k in range(steps)]
    np.testing.assert_array_equal(rates, np.array([8, 4, 2, 1])[parts])


def test_clips_are_one_sequence():
  examples, end = task_of().examples()["train"], 0
  for k in range(STEPS + 3):  # and on, in the last step's shape
    clips, first, count = examples.part(k, ROWS)
    step = min(k, STEPS - 1)
    assert first == end and count == ROWS * int(Grid(1, STEPS).batch(np.asarray(step)))
    assert clips.sampling.frames == 4 // int(Grid(1, STEPS).frames(np.asarray(step)))
    end = first + count
  for k in (0, 7, 23):
    whole = batch(examples, 0, k, ROWS)
    parts = [batch(examples, 0, k, ROWS, process=(i, 2)) for i in range(2)]
    for name, x in whole.items():
      np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), x)


def test_spans_of_fewer_frames_are_as_long_as_the_whole_at_most():
  sampling = tiny_videos.Window(frames=8, stride=3)
  few = sampling.fewer(4)
  rng = np.random.default_rng(0)
  spans = [np.ptp(few.train(200, 30.0, rng.random(9))) for _ in range(400)]
  assert (few.frames == 2 and set(spans) == set(range(5, 24, 2))) or min(spans) >= 2
  assert max(spans) <= 23 and len(set(spans)) > 5
  assert sampling.fewer(1) == sampling


def test_a_step_of_every_shape_sees_as_much():
  task = task_of()
  state, examples = jax.eval_shape(task.init, jax.random.key(0), ()), task.examples()["train"]
  seen = []

  def note(function, args, kwargs, context):
    if isinstance(context.module, X3D) and context.method_name == "__call__":
      seen.append(args[0].shape)
    return function(*args, **kwargs)

  with nn.intercept_methods(note):
    for k in range(STEPS):
      jax.eval_shape(task.step, state, (), batch(examples, 0, k, ROWS), jax.random.key(0))
  assert seen[0] == (64, 1, 11, 11, 1) and seen[-1] == (2, 4, 32, 32, 1)
  assert len(set(seen)) == 10
  work = np.array([np.prod(shape) for shape in seen]) / np.prod(seen[-1])
  assert np.abs(work - 1).max() < 0.1  # sides are whole pixels


def test_a_network_that_refuses_coarse_clips_says_so():
  with pytest.raises(BadInput, match=r"classify: SlowFast: a clip must be .* at least 2 frames"):
    task_of(network=SmallSlowFast(width=8))


@pytest.mark.slow
def test_it_trains():
  task = task_of()
  first, last, metrics, _ = steps_of(task, one_device(), steps=STEPS, batch_size=ROWS)
  assert last.step == STEPS and all(np.isfinite(m["loss"]) for m in metrics)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), first.params, last.params)
  assert max(jax.tree.leaves(moved)) > 1e-3
