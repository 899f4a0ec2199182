"""One step, two compilers: 1 and 8 devices, 1 and 2 processes, jit and pmap agree."""

import dataclasses
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train import tiny, tiny2, tiny_classifier
from tests.train.conftest import TINY, close_to, fit_in_two_processes, free_port
from train import parallel
from train.config import Parallel
from train.data import open_split, train_batches
from train.errors import BadInput
from train.experiments import make_task
from train.task import Finished

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 20


def experiment(data_dir, dtype: str):
  config = tiny.get_config()
  types = {"dtype": dtype, "param_dtype": dtype, "steps": STEPS}
  return dataclasses.replace(
    config,
    data=dataclasses.replace(config.data, dir=str(data_dir)),
    tokenizer=dataclasses.replace(config.tokenizer, **types),
    prior=dataclasses.replace(config.prior, **types),
  )


def tasks(config):
  """Both stages' tasks; the prior's tokenizer is an untrained one."""
  split = open_split(config.data, "train")
  tokenizer = make_task(config, "tokenizer", split, {})
  state = jax.jit(tokenizer.init)(jax.random.key(5))
  finished = {"tokenizer": Finished(tokenizer.model, state, {}, tokenizer)}
  return split, {"tokenizer": tokenizer, "prior": make_task(config, "prior", split, finished)}


def run(config, task, split, mesh, mode, steps=STEPS, batch_size=0):
  """The state after some steps, on the host."""
  program = parallel.compile_task(task, mesh, mode)
  key = program.put(jax.random.key(0))
  state, context = program.init(key), program.put(task.context)
  processes = {"process_index": jax.process_index(), "process_count": jax.process_count()}
  batch_size = batch_size or config.tokenizer.batch_size
  for batch in train_batches(split, 0, 0, steps, batch_size, **processes):
    state, _ = program.step(state, context, program.put_batch(batch), key)
  return jax.tree.map(np.asarray, jax.device_get(state))


def one_device():
  return parallel.make_mesh(Parallel(devices=1))


def assert_same(a, b, *, tolerance):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
    name = jax.tree_util.keystr(path)
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
  """Optax raises its decays to an integer power, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def double(data_dir):
  """Tasks in float64, and their states after 20 steps on one device."""
  with jax.enable_x64(True):
    config = experiment(data_dir, "float64")
    split, both = tasks(config)
    alone = {name: run(config, task, split, one_device(), "jit") for name, task in both.items()}
    yield config, split, both, alone


@pytest.mark.parametrize("mode", ["jit", "pmap"])
@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_all_devices_equal_one_in_float64(double, stage, mode):
  config, split, both, alone = double
  with jax.enable_x64(True):
    many = run(config, both[stage], split, parallel.make_mesh(Parallel()), mode)
  assert many.step == STEPS and jax.tree.leaves(many.params)[0].dtype == np.float64
  assert_same(many, alone[stage], tolerance=1e-10)


class Codes:
  """A split of random codes of two levels."""

  num_classes, class_names, num_threads, prefetch = 10, tuple("0123456789"), 0, 0

  def __len__(self):
    return 64

  def examples(self, indices):
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 16, (64, side, side)).astype(np.int32) for side in (4, 8)]
    labels = rng.integers(0, 10, 64).astype(np.int32)
    return {"codes": tuple(c[indices] for c in codes), "label": labels[indices]}


@pytest.mark.parametrize(
  "kind", ["codes", *(pytest.param(k, marks=pytest.mark.slow) for k in ("hierarchy", "classifier"))]
)
def test_other_tasks_on_all_devices_equal_one_in_float64(data_dir, kind):
  """Two levels' codebooks, batches with tuples of codes (by pmap as well), shifted images."""
  name, base = {
    "hierarchy": ("tokenizer", tiny2),
    "codes": ("bottom", tiny2),
    "classifier": ("classifier", tiny_classifier),
  }[kind]
  config = base.get_config()
  types = {"dtype": "float64", "param_dtype": "float64"}
  stage = dataclasses.replace(getattr(config, name), **types)
  data = dataclasses.replace(config.data, dir=str(data_dir))
  config = dataclasses.replace(config, **{name: stage}, data=data)
  split = open_split(data, "train")
  with jax.enable_x64(True):
    task = make_task(config, name, split, {})
    examples = Codes() if kind == "codes" else split
    every = parallel.make_mesh(Parallel())
    ways = [(one_device(), "jit"), (every, "jit"), *([(every, "pmap")] if kind == "codes" else [])]
    states = [
      run(config, task, examples, mesh, mode, steps=3, batch_size=16) for mesh, mode in ways
    ]
  for many in states[1:]:
    assert_same(many, states[0], tolerance=1e-10)


@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_gradients_agree_in_float32(data_dir, stage):
  config = experiment(data_dir, "float32")
  split, both = tasks(config)
  task = both[stage]
  batch = next(train_batches(split, 0, 0, 1, config.tokenizer.batch_size))
  state = jax.jit(task.init)(jax.random.key(0))
  key = jax.random.key(1)
  grads = {}
  for name, mesh in (("one", one_device()), ("all", parallel.make_mesh(Parallel()))):
    program = parallel.compile_task(task, mesh, "jit")
    args = [program.put(x) for x in (state, task.context)]
    compiled = jax.jit(lambda *a: task.gradients(*a)[0])
    grads[name] = compiled(*args, program.put_batch(batch), program.put(key))
  devices = jax.devices()
  local = jax.tree.map(lambda x: x.reshape(len(devices), -1, *x.shape[1:]), batch)
  mapped = jax.pmap(
    lambda *a: task.gradients(*a, axis_name="data")[0],
    axis_name="data", in_axes=(None, None, 0, None), out_axes=None,
  )  # fmt: skip
  grads["pmap"] = mapped(state, task.context, local, key)
  for name in ("all", "pmap"):
    paths = jax.tree_util.tree_leaves_with_path(grads["one"])
    for (path, a), b in zip(paths, jax.tree.leaves(grads[name]), strict=True):
      error = float(jnp.linalg.norm(jax.device_get(a) - jax.device_get(b)) / jnp.linalg.norm(a))
      assert error <= 1e-6, (name, jax.tree_util.keystr(path), error)


WORKER = """
import sys, numpy as np, jax
jax.config.update("jax_enable_x64", True)
jax.distributed.initialize("localhost:" + sys.argv[1], 2, int(sys.argv[2]))
from tests.train import test_parallel as t
from train import parallel
from train.checkpoint import leaves_by_path
from train.config import Parallel
config = t.experiment(sys.argv[3], "float64")
split, both = t.tasks(config)
assert jax.process_count() == 2 and jax.device_count() == 4
out = {}
for name, task in both.items():
  state = t.run(config, task, split, parallel.make_mesh(Parallel()), "jit")
  out |= {name + "/" + k: v for k, v in leaves_by_path(state).items()}
if jax.process_index() == 0:
  np.savez(sys.argv[4], **out)
"""


def test_two_processes_equal_one(double, environment, tmp_path):
  from train.checkpoint import leaves_by_path

  config, _, _, alone = double
  port, target = str(free_port()), tmp_path / "states.npz"
  workers = [
    subprocess.Popen(
      [sys.executable, "-c", WORKER, port, str(i), config.data.dir, str(target)],
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


def test_fit_by_pmap(tiny_run, train, tmp_path):
  folder = tmp_path / "pmap"
  args = ("fit", TINY, "--workdir", folder, "--parallel.mode", "pmap")
  status, out, err = train(*args, JAX_NUM_CPU_DEVICES="8")
  assert status == 0 and not err, out + err
  close_to(tiny_run, folder)


def test_fit_in_two_processes(tiny_run, environment, tmp_path):
  logs = fit_in_two_processes(TINY, tmp_path / "two", environment)
  close_to(tiny_run, tmp_path / "two")
  assert "tiny is done" in logs[0] and "tiny is done" not in logs[1]


@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_no_two_leaves_share_a_buffer_and_the_state_is_donated(data_dir, stage):
  config = experiment(data_dir, "float32")
  split, both = tasks(config)
  task = both[stage]
  program = parallel.compile_task(task, one_device(), "jit")
  key = program.put(jax.random.key(0))
  state = program.init(key)
  pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
  assert len(set(pointers)) == len(pointers)
  batch = program.put_batch(next(train_batches(split, 0, 0, 1, config.tokenizer.batch_size)))
  program.step(state, program.put(task.context), batch, key)
  assert all(x.is_deleted() for x in jax.tree.leaves(state))


def test_bad_device_counts_are_named():
  mesh = parallel.make_mesh(Parallel())
  if mesh.size > 1:
    with pytest.raises(BadInput, match=r"tokenizer.batch_size is 17, which \d devices do not div"):
      parallel.check_batch(mesh, 17, "tokenizer.batch_size")
  with pytest.raises(BadInput, match=r"parallel.devices is 99; there are \d"):
    parallel.make_mesh(Parallel(devices=99))
