"""What the tests of the programs share: prepared data, a tiny experiment, and how to run it."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from train import parallel, run
from train.checkpoint import Checkpoints, leaves_by_path
from train.config import Parallel
from train.data import train_batches
from train.task import Finished, Run, Task

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = pathlib.Path(__file__).with_name("tiny.py")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> pathlib.Path:
  """A folder for prepared datasets, shared by all tests of a session."""
  return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def environment(data_dir) -> dict[str, str]:
  """Of a program run as a user would: one device, the tests' compile cache."""
  return os.environ | {
    "TFDS_DATA_DIR": str(data_dir),
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax-programs"),
    "JAX_NUM_CPU_DEVICES": "1",
    "PYTHONWARNINGS": "default",
    "COLUMNS": "100",
  }


@pytest.fixture(scope="session")
def train(environment):
  """Runs `python -m train ...` to its end: (exit status, standard output, standard error)."""

  def run(*args, timeout: float = 300, **env: str) -> tuple[int, str, str]:
    done = subprocess.run(
      [sys.executable, "-m", "train", *map(str, args)],
      cwd=ROOT,
      env=environment | env,
      capture_output=True,
      text=True,
      timeout=timeout,
    )
    return done.returncode, done.stdout, done.stderr

  return run


@pytest.fixture
def here(data_dir, monkeypatch, capsys):
  """`python -m train ...` in this process, which has imported it all: for what ends soon."""
  from train import compile_cache
  from train.__main__ import main

  monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
  monkeypatch.setattr(compile_cache, "enable", lambda: None)

  def run(*args) -> tuple[int, str, str]:
    try:
      status = main([str(a) for a in args])
    except SystemExit as stop:  # of the parser, after its help
      status = stop.code
    return status, *capsys.readouterr()

  return run


@pytest.fixture(scope="session")
def tiny_run(train, tmp_path_factory) -> pathlib.Path:
  """The folder of the tiny experiment, finished. Read it, never write to it."""
  folder = tmp_path_factory.mktemp("runs") / "tiny"
  status, out, err = train("fit", TINY, "--workdir", folder)
  assert status == 0, out + err
  return folder


def untrained(experiment, seed: int = 5) -> dict[str, Task]:
  """The tasks of an experiment, each made as if those before it had learned nothing."""
  splits = experiment.data.open()
  made = Run(experiment, {}, experiment.data.about(splits), lambda: splits)
  for name, stage in experiment.stages.items():
    task, learned = run.make(made, name), None
    if isinstance(task, Task):
      state = jax.jit(task.init)(jax.random.key(seed), task.context)
      learned = jax.device_get(jax.jit(task.learned)(state, task.context))
    made = dataclasses.replace(
      made, stages=made.stages | {name: Finished(stage, task, learned, {})}
    )
  return {name: done.task for name, done in made.stages.items()}


def replaced(experiment, data_dir=None, **stages):
  """An experiment with fields of its stages replaced; datasets in `data_dir`."""
  changed = {n: dataclasses.replace(experiment.stages[n], **f) for n, f in stages.items()}
  experiment = dataclasses.replace(experiment, stages=experiment.stages | changed)
  if data_dir is None:
    return experiment
  return dataclasses.replace(
    experiment, data=dataclasses.replace(experiment.data, dir=str(data_dir))
  )


def steps_of(task, mesh, mode="jit", *, steps, batch_size, examples=None):
  """(first state, last state, every step's metrics) on the host, and the program."""
  program = parallel.compile_task(task, mesh, mode)
  key, context = program.put(jax.random.key(0)), program.put(task.context)
  state = program.init(key, context)
  first, figures = jax.tree.map(np.array, jax.device_get(state)), []
  process = jax.process_index(), jax.process_count()
  examples = examples or task.examples()["train"]
  for batch in train_batches(examples, 0, 0, steps, batch_size, process):
    state, measured = program.step(state, context, program.put_batch(batch), key)
    figures.append(measured)
  last = jax.tree.map(np.asarray, jax.device_get(state))
  return first, last, jax.device_get(figures), program


def one_device():
  return parallel.make_mesh(Parallel(devices=1))


def assert_same(a, b, *, tolerance):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
    name = jax.tree_util.keystr(path)
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance, err_msg=name)


def states_of(folder) -> dict[str, np.ndarray]:
  """Every leaf of every stage's latest checkpoint: parameters, codebook, optimizer state."""
  here, leaves = jax.sharding.SingleDeviceSharding(jax.devices()[0]), {}
  for name, done in run.load(folder).stages.items():
    if not isinstance(done.task, Task):
      continue
    path = folder / name / "checkpoints"
    checkpoints = Checkpoints(path, best=done.task.best, read_only=True)
    step, state = checkpoints.latest(parallel.abstract_state(done.task, here))
    checkpoints.close()
    leaves |= {f"{name}.{k}": np.asarray(v) for k, v in leaves_by_path(state).items()}
    leaves[f"{name} step"] = np.asarray(step)
  return leaves


def survives_being_killed(config, options, train, environment, folder):
  """The folders of a run that was left alone, and of one that was killed while it trained."""
  whole, killed = folder / "whole", folder / "killed"
  status, out, err = train("fit", config, "--workdir", whole, *options)
  assert status == 0, out + err
  command = [sys.executable, "-m", "train", "fit", config, "--workdir", killed, *options]
  process = subprocess.Popen(
    [*map(str, command)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
  )
  deadline, metrics = time.monotonic() + 120, killed / "metrics.jsonl"
  while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 3):
    assert process.poll() is None and time.monotonic() < deadline, "the run did not get there"
    time.sleep(0.002)
  process.kill()
  process.communicate()
  status, out, err = train("fit", config, "--workdir", killed, *options)
  assert status == 0 and "warning" not in err, out + err
  return whole, killed


def assert_same_run(a: pathlib.Path, b: pathlib.Path) -> dict[str, np.ndarray]:
  """That two runs have the same states, to the last bit, and told the same; returns the states."""
  ours, theirs = states_of(a), states_of(b)
  assert ours.keys() == theirs.keys()
  for path, leaf in ours.items():
    np.testing.assert_array_equal(leaf, theirs[path], err_msg=path)
  assert lines(a) == lines(b)
  return ours


def lines(folder: pathlib.Path) -> list[dict]:
  """metrics.jsonl without its wall times."""
  records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  times = ("seconds", "data_wait")
  return [{k: v for k, v in record.items() if k not in times} for record in records]


def close_to(one: pathlib.Path, folder: pathlib.Path) -> None:
  """Asserts that a run on other devices tells the same story as the one on a single device."""
  ours, theirs = lines(folder), lines(one)
  assert [(r["stage"], r["step"], r["kind"]) for r in ours] == [
    (r["stage"], r["step"], r["kind"]) for r in theirs
  ]
  for a, b in zip(ours, theirs, strict=True):
    for figure in {"mse", "nats_per_code"} & a.keys():
      np.testing.assert_allclose(a[figure], b[figure], rtol=1e-2)


def free_port() -> int:
  with socket.socket() as s:
    s.bind(("localhost", 0))
    return s.getsockname()[1]


def fit_in_two_processes(
  config: pathlib.Path, folder: pathlib.Path, environment: dict[str, str], *options: str
) -> list[str]:
  """`fit` as two processes that found each other; what each printed."""
  distributed = ["--parallel.distributed", "True", "--parallel.num_processes", "2"]
  distributed += ["--parallel.coordinator", f"localhost:{free_port()}", *options]
  command = [sys.executable, "-m", "train", "fit", str(config), "--workdir", str(folder)]
  workers = [
    subprocess.Popen(
      [*command, *distributed, "--parallel.process_id", str(i)],
      cwd=ROOT,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for i in range(2)
  ]
  logs = [worker.communicate(timeout=300)[0] for worker in workers]
  assert all(worker.returncode == 0 for worker in workers), "\n----\n".join(logs)
  return logs
