"""One step, two compilers: 1 and 8 devices, 1 and 2 processes, jit and pmap agree."""

import contextlib
import pathlib
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from tests.train import tiny, tiny2, tiny_classifier
from tests.train.conftest import (
  TINY,
  assert_same,
  close_to,
  fit_in_two_processes,
  free_port,
  one_device,
  replaced,
  steps_of,
  untrained,
)
from train import parallel
from train.config import Parallel, TrainingStage
from train.data import Examples, train_batches
from train.errors import BadInput

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 20


def experiment(data_dir, dtype: str):
  types = {"dtype": dtype, "param_dtype": dtype, "steps": STEPS}
  return replaced(tiny.get_config(), data_dir, tokenizer=types, prior=types)


def run(task, mesh, mode, steps=STEPS, **options):
  """The state after some steps, on the host."""
  return steps_of(task, mesh, mode, steps=steps, batch_size=16, **options)[1]


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def double(data_dir):
  """Tasks in float64, and their states after 20 steps on one device."""
  with jax.enable_x64(True):
    both = untrained(experiment(data_dir, "float64"))
    yield both, {name: run(task, one_device(), "jit") for name, task in both.items()}


@pytest.mark.parametrize("mode", ["jit", "pmap"])
@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_all_devices_equal_one_in_float64(double, stage, mode):
  both, alone = double
  with jax.enable_x64(True):
    many = run(both[stage], parallel.make_mesh(Parallel()), mode)
  assert many.step == STEPS and jax.tree.leaves(many.params)[0].dtype == np.float64
  assert_same(many, alone[stage], tolerance=1e-10)


class Codes(Examples):
  """Random codes of two levels."""

  def __len__(self):
    return 64

  def read(self, indices, draws):
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 16, (64, side, side)).astype(np.int32) for side in (4, 8)]
    labels = rng.integers(0, 10, 64).astype(np.int32)
    return {"codes": tuple(c[indices] for c in codes), "label": labels[indices]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["codes", "hierarchy", "classifier"])
def test_other_tasks_on_all_devices_equal_one_in_float64(data_dir, kind):
  """Two levels' codebooks, batches with tuples of codes (by pmap as well), shifted images."""
  name, base = {
    "hierarchy": ("tokenizer", tiny2),
    "codes": ("bottom", tiny2),
    "classifier": ("classifier", tiny_classifier),
  }[kind]
  types = {"dtype": "float64", "param_dtype": "float64"}
  with jax.enable_x64(True):
    task = untrained(replaced(base.get_config(), data_dir, **{name: types}))[name]
    examples = Codes() if kind == "codes" else None
    every = parallel.make_mesh(Parallel())
    ways = [(one_device(), "jit"), (every, "jit"), *([(every, "pmap")] if kind == "codes" else [])]
    states = [run(task, mesh, mode, steps=3, examples=examples) for mesh, mode in ways]
  for many in states[1:]:
    assert_same(many, states[0], tolerance=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_gradients_agree_in_float32(data_dir, stage):
  """Seen in Adam's first moment after a step, a tenth of the gradient."""
  task = untrained(experiment(data_dir, "float32"))[stage]
  every = parallel.make_mesh(Parallel())
  ways = {"one": (one_device(), "jit"), "all": (every, "jit"), "pmap": (every, "pmap")}
  grads = {name: run(task, *way, steps=1).opt_state[0].mu for name, way in ways.items()}
  for name in ("all", "pmap"):
    paths = jax.tree_util.tree_leaves_with_path(grads["one"])
    for (path, a), b in zip(paths, jax.tree.leaves(grads[name]), strict=True):
      error = float(np.linalg.norm(a - b) / np.linalg.norm(a))
      assert error <= 1e-6, (name, jax.tree_util.keystr(path), error)


WORKER = """
import sys, numpy as np, jax
jax.config.update("jax_enable_x64", True)
jax.distributed.initialize("localhost:" + sys.argv[1], 2, int(sys.argv[2]))
from tests.train import test_parallel as t
from train import parallel
from train.checkpoint import leaves_by_path
from train.config import Parallel, TrainingStage
both = t.untrained(t.experiment(sys.argv[3], "float64"))
assert jax.process_count() == 2 and jax.device_count() == 4
out = {}
for name, task in both.items():
  state = t.run(task, parallel.make_mesh(Parallel()), "jit")
  out |= {name + "/" + k: v for k, v in leaves_by_path(state).items()}
if jax.process_index() == 0:
  np.savez(sys.argv[4], **out)
"""


@pytest.mark.slow
def test_two_processes_equal_one(double, environment, data_dir, tmp_path):
  from train.checkpoint import leaves_by_path

  _, alone = double
  port, target = str(free_port()), tmp_path / "states.npz"
  workers = [
    subprocess.Popen(
      [sys.executable, "-c", WORKER, port, str(i), str(data_dir), str(target)],
      cwd=ROOT,
      env=environment | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for i in range(2)
  ]
  logs = [worker.communicate(timeout=240)[0] for worker in workers]
  assert all(worker.returncode == 0 for worker in workers), "\n----\n".join(logs)
  with np.load(target) as states:
    for stage, state in alone.items():
      for path, leaf in leaves_by_path(state).items():
        np.testing.assert_allclose(
          states[f"{stage}/{path}"], leaf, rtol=1e-10, atol=1e-10, err_msg=f"{stage} {path}"
        )


@pytest.mark.slow
def test_fit_by_pmap(tiny_run, train, tmp_path):
  folder = tmp_path / "pmap"
  args = ("fit", TINY, "--workdir", folder, "--parallel.mode", "pmap")
  status, out, err = train(*args, JAX_NUM_CPU_DEVICES="8")
  assert status == 0 and not err, out + err
  close_to(tiny_run, folder)


@pytest.mark.slow
def test_fit_in_two_processes(tiny_run, environment, tmp_path):
  logs = fit_in_two_processes(TINY, tmp_path / "two", environment)
  close_to(tiny_run, tmp_path / "two")
  assert "tiny is done" in logs[0] and "tiny is done" not in logs[1]


@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_no_two_leaves_share_a_buffer_and_the_state_is_donated(data_dir, stage):
  task = untrained(experiment(data_dir, "float32"))[stage]
  program = parallel.compile_task(task, one_device(), "jit")
  key, context = program.put(jax.random.key(0)), program.put(task.context)
  state = program.init(key, context)
  pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
  assert len(set(pointers)) == len(pointers)
  batch = program.put_batch(next(train_batches(task.examples()["train"], 0, 0, 1, 16)))
  program.step(state, context, batch, key)
  assert all(x.is_deleted() for x in jax.tree.leaves(state))


def test_bad_device_counts_are_named():
  mesh = parallel.make_mesh(Parallel())
  if mesh.size > 1:
    stage = TrainingStage(batch_size=17)
    with pytest.raises(BadInput, match=r"tokenizer.batch_size is 17, which \d devices do not div"):
      parallel.check_batch(mesh, stage, "tokenizer")
    stage = TrainingStage(batch_size=2 * mesh.size, accumulate=4)
    with pytest.raises(BadInput, match=r"which \d devices of 4 parts each do not divide"):
      parallel.check_batch(mesh, stage, "tokenizer")
  with pytest.raises(BadInput, match=r"parallel.devices is 99; there are \d"):
    parallel.make_mesh(Parallel(devices=99))


def test_what_a_device_cannot_hold_is_refused_unless_it_is_said_to_hold_more(data_dir):
  tiny = experiment(data_dir, "float32")
  task, stage = untrained(tiny)["tokenizer"], tiny.stages["tokenizer"]
  for tells, holds in (({"bytes_limit": 2**20}, True), ({"bytes_limit": 99}, False), (None, True)):
    device = types.SimpleNamespace(platform="gpu", memory_stats=lambda tells=tells: tells)
    mesh = types.SimpleNamespace(local_devices=[device], size=1)
    for config, enough in ((Parallel(), holds), (Parallel(memory=1), True)):
      with contextlib.nullcontext() if enough else pytest.raises(BadInput, match="a batch"):
        parallel.check_memory(mesh, config, task, stage, "tokenizer")
  with pytest.raises(BadInput, match=r"^tokenizer: its .* of each device's 0\.0; lower"):
    parallel.check_memory(one_device(), Parallel(memory=1e-9), task, stage, "tokenizer")
