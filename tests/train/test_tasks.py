"""The tasks themselves: what a step changes, that it learns, and that it compiles once."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.train import tiny
from train import parallel
from train.config import Parallel
from train.data import open_split, train_batches
from train.experiments import make_task
from train.task import Finished
from train.tasks.vqvae import Codebook


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


def run(data_dir, stage="tokenizer", steps=3, **fields):
  """(first state, last state, every step's metrics, program) of a few steps on one device."""
  config = tiny.get_config()
  config = dataclasses.replace(
    config,
    data=dataclasses.replace(config.data, dir=str(data_dir)),
    **{stage: dataclasses.replace(getattr(config, stage), **fields)},
  )
  split = open_split(config.data, "train")
  task = make_task(config, "tokenizer", split, {})
  if stage == "prior":
    state = jax.jit(task.init)(jax.random.key(0))
    finished = {"tokenizer": Finished(task.model, state, {}, task)}
    task = make_task(config, "prior", split, finished)
  program = parallel.compile_task(task, parallel.make_mesh(Parallel(devices=1)), "jit")
  key = program.put(jax.random.key(0))
  state, context = program.init(key), program.put(task.context)
  first, metrics = jax.tree.map(np.array, jax.device_get(state)), []
  for batch in train_batches(split, 0, 0, steps, getattr(config, stage).batch_size):
    state, figures = program.step(state, context, program.put_batch(batch), key)
    metrics.append(jax.device_get(figures))
  return first, jax.device_get(state), metrics, program


def test_an_ema_codebook_is_out_of_the_optimizers_reach(data_dir):
  first, last, _, _ = run(data_dir)
  assert "codebooks" not in first.params and last.codebooks[0].step == 3
  assert not np.array_equal(first.codebooks[0].codebook, last.codebooks[0].codebook)


def test_a_gradient_codebook_is_a_leaf_of_params(data_dir):
  first, last, _, _ = run(data_dir, codebook=Codebook(num_codes=16, dim=4, update="gradient"))
  assert first.codebooks is None and first.params["codebooks"][0].shape == (16, 4)
  assert not np.array_equal(first.params["codebooks"][0], last.params["codebooks"][0])


@pytest.mark.parametrize(("stage", "figure"), [("tokenizer", "mse"), ("prior", "loss")])
def test_it_learns_and_compiles_once(data_dir, stage, figure):
  _, last, metrics, program = run(data_dir, stage, steps=60)
  values = [float(m[figure]) for m in metrics]
  assert np.mean(values[-5:]) < 0.7 * values[0]
  assert last.step == 60 and program.step._cache_size() == 1


def test_several_codes_a_position_and_bfloat16(data_dir):
  first, last, metrics, _ = run(data_dir, codes_per_position=3, dtype="bfloat16")
  assert all(x.dtype == np.float32 for x in jax.tree.leaves(last.params))
  assert all(np.isfinite(m["loss"]) for m in metrics)
  assert first.params["network"]["to_codes"]["kernel"].shape[-1] == 12


def test_a_run_is_a_function_of_its_seed(data_dir):
  options = {"stage": "prior", "steps": 2, "dropout": 0.5}
  (*_, a, _), (*_, b, _) = run(data_dir, **options), run(data_dir, **options)
  assert [m["loss"] for m in a] == [m["loss"] for m in b]
