"""An experiment from its config to its finished stages; what the command line calls.

fit(experiment, "runs/digits")        starts, resumes, or sees that all is done
run = load("runs/digits")             finished stages: models, states, figures, and the config
evaluate("runs/digits")               figures of the finished stages, computed anew
"""

import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from tensorboardX import SummaryWriter

from train import config, loop, parallel
from train.checkpoint import Checkpoints, to_host
from train.config import Experiment, Parallel
from train.data import Split, data_dir, open_split, prepare
from train.errors import BadInput, Failed, Preempted
from train.experiments import make_task
from train.report import console, write_png
from train.task import Finished, Task
from train.workdir import Workdir


class Run(NamedTuple):
  """A folder's experiment, with the stages that are finished."""

  config: Experiment
  stages: dict[str, Finished]
  splits: tuple[Split, Split]  # training, held-out


class Plan(NamedTuple):
  """An experiment whose config, data and devices have been checked against each other."""

  experiment: Experiment
  splits: tuple[Split, Split]
  data: str  # which prepared dataset that is
  mesh: jax.sharding.Mesh


def plan(experiment: Experiment) -> Plan:
  """Checks everything that can be checked before anything is written to the run's folder.

  Raises:
    BadInput: a field, the data, or how they fit each other and the devices.
  """
  config.check(experiment)
  for path, (value, _) in config.flatten(experiment).items():
    if value == "float64" and not jax.config.jax_enable_x64:
      raise BadInput(f"{path} is float64; set JAX_ENABLE_X64=1 as well, or take float32")
  mesh = parallel.make_mesh(experiment.parallel)
  for name, stage in config.stages(experiment).items():
    parallel.check_batch(mesh, stage.batch_size, f"{name}.batch_size")
  splits = _open(experiment)
  finished = {}
  for name in config.stages(experiment):
    try:
      task = make_task(experiment, name, splits[0], finished)
      abstract = jax.eval_shape(task.init, jax.eval_shape(lambda: jax.random.key(0)))
    except BadInput:
      raise
    except ValueError as error:  # a model that can't take these images or these fields
      raise BadInput(f"{name}: {error}") from None
    finished[name] = Finished(task.model, abstract, {}, task)
  return Plan(experiment, splits, _identity(experiment), mesh)


def _identity(experiment: Experiment) -> str:
  """Which prepared dataset an experiment reads: its name, fingerprint and version."""
  folder = prepare(experiment.data)
  return folder.relative_to(data_dir(experiment.data)).as_posix()


def _open(experiment: Experiment) -> tuple[Split, Split]:
  """Both splits; prepared by the first process where there are several."""
  if jax.process_index() == 0:
    prepare(experiment.data)
  _wait_for_all("data prepared")
  return open_split(experiment.data, "train"), open_split(experiment.data, "eval")


def fit(experiment: Experiment, folder: str | pathlib.Path) -> Run:
  """Runs the stages that are not finished yet, in order, and returns them all.

  Raises:
    BadInput: before anything is written to the folder; or a checkpoint there is another model's.
    Preempted, Failed: see `loop.train`; the same call continues.
  """
  workdir = Workdir(folder)
  workdir.check(experiment)
  experiment, splits, data, mesh = plan(experiment)
  first = jax.process_index() == 0
  _claim(workdir, experiment, data)
  stop = loop.StopRequest()
  try:
    finished: dict[str, Finished] = {}
    for index, (name, stage) in enumerate(config.stages(experiment).items()):
      task = make_task(experiment, name, splits[0], finished)
      done = workdir.done(name)
      if done is None or done["steps"] < stage.steps:
        program = parallel.compile_task(task, mesh, experiment.parallel.mode)
        checkpoints = Checkpoints(
          workdir.checkpoints(name),
          select=task.select,
          keep=experiment.log.keep_checkpoints,
          decided_by=_full_paths(experiment, name, task),
        )
        try:
          seconds = loop.train(
            name, stage, task, program, experiment, splits, checkpoints, workdir.path,
            jax.random.fold_in(jax.random.key(experiment.seed), index),
            experiment.seed + index, stop,
          )  # fmt: skip
        finally:
          checkpoints.close()
        finished[name] = _best(workdir, name, task)
        if first:
          _finish(workdir, name, stage.steps, finished[name], splits, seconds)
        _wait_for_all(f"{name} finished")
        if stop() and name != list(config.stages(experiment))[-1]:
          raise Preempted(f"stopped when {name} was finished")
      else:
        if first:
          console.print(f"{name}: done ({done['steps']} steps)")
        finished[name] = _best(workdir, name, task)
    return Run(experiment, finished, splits)
  finally:
    workdir.release()


def _claim(workdir: Workdir, experiment: Experiment, data: str) -> None:
  """The first process claims the folder; where it can't, all of them stop."""
  refused: BadInput | None = None
  if jax.process_index() == 0:
    try:
      workdir.claim(experiment, data)
    except BadInput as error:
      refused = error
  if jax.process_count() > 1:
    ok = multihost_utils.broadcast_one_to_all(np.asarray(refused is None))
    if not ok and refused is None:
      refused = BadInput(f"--workdir {workdir.path} was refused; the first process says why")
  if refused:
    raise refused


def _wait_for_all(what: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)


def _finish(
  workdir: Workdir,
  name: str,
  steps: int,
  result: Finished,
  splits: tuple[Split, Split],
  seconds: float,
) -> None:
  """Pictures first, the record that all is done last."""
  task = result.task
  pictures = task.pictures(result.state, task.context, splits[1])
  for title, picture in pictures.items():
    write_png(workdir.path / f"{title}.png", picture)
  with SummaryWriter(str(workdir.path)) as events:
    for title, picture in pictures.items():
      events.add_image(f"{name}/{title}", picture, steps, dataformats="HWC")
  figures = result.figures | task.judged(result.state, task.context, *splits)
  record = {"steps": steps, "figures": figures, "seconds": round(seconds, 1)}
  workdir.finish(name, record | {"pictures": [f"{title}.png" for title in pictures]})


def _best(workdir: Workdir, name: str, task: Task) -> Finished:
  """The stage's best checkpoint by its held-out figure, on the host."""
  folder = workdir.checkpoints(name)
  if not folder.is_dir():
    raise BadInput(f"{workdir.path} has no checkpoint of {name}: {folder} is missing")
  checkpoints = Checkpoints(
    folder,
    select=task.select,
    decided_by=_full_paths(workdir.config(), name, task),
    read_only=True,
  )
  try:
    step = checkpoints.best()
    if step is None:
      raise BadInput(f"{folder} holds no whole checkpoint of {name} that was evaluated")
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
      jax.eval_shape(task.init, jax.eval_shape(lambda: jax.random.key(0))),
    )
    try:
      state = to_host(checkpoints.restore(step, abstract))
    except BadInput:
      raise
    except Exception as error:
      reason = str(error).strip().splitlines()[0][:200]
      raise Failed(f"checkpoint {folder / str(step)} can't be read: {reason}") from error
    return Finished(task.model, state, checkpoints.figures(step) or {}, task)
  finally:
    checkpoints.close()


def _full_paths(experiment: Experiment, name: str, task: Task) -> dict[str, list[str]]:
  own = config.flatten(config.stages(experiment)[name])
  return {
    pattern: [f"{name}.{field}" if field in own else field for field in fields]
    for pattern, fields in task.decided_by.items()
  }


def load(folder: str | pathlib.Path) -> Run:
  """The finished stages of a run's folder, each with its best checkpoint, on the host.

  Raises:
    BadInput: the folder holds no experiment, none of its stages is finished, or its checkpoints
      are missing or another model's.
  """
  workdir = Workdir(folder)
  experiment = workdir.config()
  names = [name for name in config.stages(experiment) if workdir.done(name)]
  if not names:
    raise BadInput(f"{folder}: no stage is finished yet; run fit again to go on")
  splits = _open(experiment)
  finished: dict[str, Finished] = {}
  for name in names:
    task = make_task(experiment, name, splits[0], finished)
    finished[name] = _best(workdir, name, task)
  return Run(experiment, finished, splits)


def evaluate(folder: str | pathlib.Path) -> dict[str, dict[str, float]]:
  """Every finished stage's figures on the held-out split, computed anew."""
  run = load(folder)
  mesh = parallel.make_mesh(Parallel())  # whatever machine this is
  figures = {}
  for name, done in run.stages.items():
    stage, task = config.stages(run.config)[name], done.task
    batch_size = -(-stage.batch_size // mesh.size) * mesh.size
    program = parallel.compile_task(task, mesh, "jit")
    state, context = program.put(done.state), program.put(task.context)
    held_out = loop.evaluate(task, program, state, context, run.splits[1], batch_size)
    figures[name] = held_out | task.judged(done.state, task.context, *run.splits)
  return figures


def parameter_count(params: Any) -> int:
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))
