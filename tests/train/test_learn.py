"""The step: parts of a batch, averages of parameters, clipping."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.train import tiny2
from tests.train.conftest import assert_same, one_device, replaced, steps_of, untrained
from tests.train.own import clips
from train import learn, parallel
from train.config import Parallel, TrainingStage
from train.optimizer import SGD
from vqlab import metrics

STEPS, ROWS = 3, 32


@pytest.fixture(autouse=True, scope="module")
def double():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
    yield


def tokenizer(data_dir, **fields):
  types = {"dtype": "float64", "param_dtype": "float64"}
  return untrained(replaced(tiny2.get_config(), data_dir, tokenizer=types | fields))["tokenizer"]


@pytest.fixture(scope="module")
def whole(data_dir):
  return steps_of(tokenizer(data_dir), one_device(), steps=STEPS, batch_size=ROWS)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_parts_of_a_batch_add_up_to_it(data_dir, whole, mode):
  """Four parts of 8 give what a batch of 32 gives: gradients, codebooks of two levels, figures."""
  mesh = parallel.make_mesh(Parallel(devices=min(2, jax.device_count())))
  task = tokenizer(data_dir, accumulate=4)
  _, state, figures, _ = steps_of(task, mesh, mode, steps=STEPS, batch_size=ROWS)
  _, expected, expected_figures, _ = whole
  assert_same(state, expected, tolerance=1e-10)
  assert_same(figures, expected_figures, tolerance=1e-10)


def line(optimizer, **options):
  """The step of a line fitted to points; counts of examples differ from part to part."""

  def loss(params, rest, context, batch, key, *, axis_name):
    error = jnp.square(params["a"] * batch["x"] - batch["y"])
    total = metrics.total(error, mask=batch["mask"])
    return total, (rest, {"error": total})

  rng = np.random.default_rng(0)
  batch = {
    "x": rng.normal(size=8), "y": rng.normal(size=8), "mask": np.arange(8) % 4 < np.arange(8) % 3
  }  # fmt: skip
  step = jax.jit(learn.step_of(loss, optimizer, **options))
  state = learn.initial(optimizer, {"a": jnp.asarray(3.0)})
  return step, state, batch


def test_parts_of_different_counts_weigh_by_them():
  results = []
  for accumulate in (1, 4):
    step, state, batch = line(optax.sgd(0.1), accumulate=accumulate)
    results.append(step(state, (), batch, jax.random.key(0)))
  assert_same(results[1], results[0], tolerance=1e-12)


def test_the_average_follows_the_parameters_and_is_what_is_learned():
  stage = TrainingStage(steps=20, optimizer=SGD(learning_rate=0.1), average=0.5)
  step, state, batch = line(learn.optimizer_of(stage))
  expected = 3.0
  for t in range(20):
    state, _ = step(state, (), batch, jax.random.key(0))
    kept = min(0.5, (1 + t) / (10 + t))
    expected = kept * expected + (1 - kept) * float(state.params["a"])
  found = learn.learned(state)
  np.testing.assert_allclose(found.params["a"], expected, rtol=1e-6)
  assert found.params["a"] != state.params["a"] and found.rest == ()
  plain = dataclasses.replace(stage, average=0.0)
  without, state, _ = line(learn.optimizer_of(plain))
  state, _ = without(state, (), batch, jax.random.key(0))
  assert learn.learned(state).params is state.params


def test_gradients_are_clipped_by_their_global_norm_and_reported_as_they_were():
  optimizer = SGD(learning_rate=1.0, momentum=0.0, clip_norm=0.05)
  step, state, batch = line(learn.optimizer_of(TrainingStage(optimizer=optimizer)))
  new, figures = step(state, (), batch, jax.random.key(0))
  assert figures["grad_norm"] > 0.08
  np.testing.assert_allclose(abs(new.params["a"] - state.params["a"]), 0.05, rtol=1e-6)


def test_statistics_of_batch_norm_go_from_part_to_part():
  """Each part is normalized by itself, and the running statistics see all of them in order."""
  config = replaced(clips.get_config(), classify={"accumulate": 2, "param_dtype": "float64"})
  task = untrained(config)["classify"]
  batch = task.examples()["train"].read(np.arange(4), np.zeros(4, np.uint64))
  batch |= {"index": np.arange(4, dtype=np.int32)}
  state = task.init(jax.random.key(0), ())
  new, _ = jax.jit(task.step)(state, (), batch, jax.random.key(1))
  rest = state.rest
  for rows in (slice(0, None, 2), slice(1, None, 2)):
    x = jnp.asarray(batch["clip"][rows], jnp.float32) / 255
    variables = {"params": state.params, "batch_stats": rest}
    rest = task.model.apply(variables, x, train=True, mutable=["batch_stats"])[1]["batch_stats"]
  assert_same(new.rest, jax.device_get(rest), tolerance=1e-6)
