"""The tasks themselves: what a step changes, that it learns, and that it compiles once."""

import jax
import numpy as np
import pytest

from tests.train import tiny
from tests.train.conftest import one_device, replaced, steps_of, untrained
from train.images.vqvae import Codebook


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


def run(data_dir, stage="tokenizer", steps=3, **fields):
  """(first state, last state, every step's metrics, program) of a few steps on one device."""
  task = untrained(replaced(tiny.get_config(), data_dir, **{stage: fields}))[stage]
  return steps_of(task, one_device(), steps=steps, batch_size=16)


def test_an_ema_codebook_is_out_of_the_optimizers_reach(data_dir):
  first, last, _, _ = run(data_dir)
  assert "codebooks" not in first.params and last.rest[0].step == 3
  assert not np.array_equal(first.rest[0].codebook, last.rest[0].codebook)


def test_a_gradient_codebook_is_a_leaf_of_params(data_dir):
  first, last, _, _ = run(data_dir, codebook=Codebook(num_codes=16, dim=4, update="gradient"))
  assert first.rest == () and first.params["codebooks"][0].shape == (16, 4)
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
