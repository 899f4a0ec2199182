"""An experiment from its config to its finished stages; what the command line calls.

fit(experiment, "runs/digits")        starts, resumes, or sees that all is done
run = load("runs/digits")             finished stages: models, states, figures, and the config
evaluate("runs/digits")               figures of the finished stages, computed anew
"""

import itertools
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from train import config, experiments, loop, parallel
from train.checkpoint import Checkpoints, to_host
from train.config import Experiment, Parallel, TrainingStage
from train.data import Split, data_dir, open_split, prepare
from train.data.codes import Damaged
from train.errors import BadInput, Failed, Preempted
from train.experiments import make_task
from train.report import console, write_png
from train.task import Finished, Splits, Task, Work
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
  tasks: dict[str, Task | Work]  # with shapes in place of what earlier stages learn


def plan(experiment: Experiment) -> Plan:
  """Checks everything that can be checked before anything is written to the run's folder.

  Raises:
    BadInput: a field, the data, or how they fit each other and the devices.
  """
  config.check(experiment)
  if experiments.kind(type(experiment).__name__) is not type(experiment):
    raise BadInput(f"{type(experiment).__name__} is not the one of train/experiments.py")
  for path, (value, _) in config.flatten(experiment).items():
    if value == "float64" and not jax.config.jax_enable_x64:
      raise BadInput(f"{path} is float64; set JAX_ENABLE_X64=1 as well, or take float32")
  mesh = parallel.make_mesh(experiment.parallel)
  for name, stage in config.stages(experiment).items():
    if isinstance(stage, TrainingStage):
      parallel.check_batch(mesh, stage.batch_size, f"{name}.batch_size")
  splits = _open(experiment)
  tasks = abstract_tasks(experiment, splits[0])
  return Plan(experiment, splits, _identity(experiment), mesh, tasks)


def abstract_tasks(experiment: Experiment, split: Split) -> dict[str, Task | Work]:
  """Every stage's task, made as if the stages before it were finished; computes nothing.

  Raises:
    BadInput: a stage's fields, the images, or how they fit each other.
  """
  finished: dict[str, Finished] = {}
  for name in config.stages(experiment):
    try:
      task = make_task(experiment, name, split, finished)
      if isinstance(task, Work):
        finished[name] = Finished(None, None, {}, task)
        continue
      abstract = jax.eval_shape(task.init, jax.eval_shape(lambda: jax.random.key(0)))
    except BadInput:
      raise
    except ValueError as error:  # a model that can't take these images or these fields
      raise BadInput(f"{name}: {error}") from None
    finished[name] = Finished(task.model, abstract, {}, task)
  return {name: done.task for name, done in finished.items()}


def _identity(experiment: Experiment) -> str:
  """Which prepared dataset an experiment reads: its name, fingerprint and version."""
  folder = prepare(experiment.data)
  return folder.relative_to(data_dir(experiment.data)).as_posix()


def _open(experiment: Experiment) -> tuple[Split, Split]:
  """Both splits; prepared by the first process where there are several."""
  if jax.process_index() == 0:
    prepare(experiment.data)
  parallel.wait_for_all("data prepared")
  return open_split(experiment.data, "train"), open_split(experiment.data, "eval")


def fit(experiment: Experiment, folder: str | pathlib.Path) -> Run:
  """Runs the stages that are not finished yet, in order, and returns them all.

  Raises:
    BadInput: before anything is written to the folder; or a checkpoint there is another model's.
    Preempted, Failed: see `loop.train`; the same call continues.
  """
  workdir = Workdir(folder)
  workdir.check(experiment)
  experiment, splits, data, mesh, _ = plan(experiment)
  _claim(workdir, experiment, data)
  stop = loop.StopRequest()
  try:
    finished: dict[str, Finished] = {}
    names = list(config.stages(experiment))
    for name in names:
      task = make_task(experiment, name, splits[0], finished)
      if _is_done(workdir, experiment, name):
        if jax.process_index() == 0:
          steps = workdir.done(name)["steps"]
          console.print(f"{name}: done ({steps} steps)" if steps else f"{name}: done")
        try:
          finished[name] = _result(workdir, name, task)
          continue
        except Damaged as error:  # what it made can be made anew
          console.print(
            f"{name}: {str(error).split('; run fit')[0]}; what is damaged is done again"
          )
      if isinstance(task, Work):
        finished[name] = _work(workdir, name, task, splits, stop)
      else:
        finished[name] = _train(workdir, experiment, name, task, finished, splits, mesh, stop)
      parallel.wait_for_all(f"{name} finished")
      if stop() and name != names[-1]:
        raise Preempted(f"stopped when {name} was finished")
    return Run(experiment, finished, splits)
  finally:
    workdir.release()


def _is_done(workdir: Workdir, experiment: Experiment, name: str) -> bool:
  done, stage = workdir.done(name), config.stages(experiment)[name]
  return done is not None and done["steps"] >= getattr(stage, "steps", 0)


def _work(
  workdir: Workdir, name: str, task: Work, splits: Splits, stop: Callable[[], bool]
) -> Finished:
  start = time.monotonic()
  folder = workdir.path / name
  if jax.process_index() == 0:
    console.print(f"{name}: {sum(map(len, splits)):,} examples")
  task.run(folder, splits, stop)
  made = task.open(folder)
  figures = task.figures(made)
  if jax.process_index() == 0:
    seconds = round(time.monotonic() - start, 1)
    record = {"steps": 0, "figures": figures, "seconds": seconds, "pictures": []}
    workdir.finish(name, record)
  return Finished(None, None, figures, task, made)


def _train(
  workdir: Workdir,
  experiment: Experiment,
  name: str,
  task: Task,
  finished: dict[str, Finished],
  splits: Splits,
  mesh: jax.sharding.Mesh,
  stop: Callable[[], bool],
) -> Finished:
  stages = config.stages(experiment)
  index, stage = list(stages).index(name), stages[name]
  data = _examples(task, finished, splits)
  program = parallel.compile_task(task, mesh, experiment.parallel.mode)
  checkpoints = Checkpoints(
    workdir.checkpoints(name),
    select=task.select,
    keep=experiment.log.keep_checkpoints,
    decided_by=_full_paths(experiment, name, task),
  )
  try:
    seconds = loop.train(
      name, stage, task, program, experiment, data, checkpoints, workdir.path,
      jax.random.fold_in(jax.random.key(experiment.seed), index),
      experiment.seed + index, stop,
    )  # fmt: skip
  finally:
    checkpoints.close()
  result = _result(workdir, name, task)
  if jax.process_index() == 0:
    _finish(workdir, name, stage.steps, result, data, splits, seconds)
  return result


def _examples(task: Task, finished: dict[str, Finished], splits: Splits) -> Splits:
  """What a task trains and is evaluated on."""
  return task.view(splits if task.reads is None else finished[task.reads].splits)


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


def _finish(
  workdir: Workdir,
  name: str,
  steps: int,
  result: Finished,
  data: Splits,
  splits: Splits,
  seconds: float,
) -> None:
  """Pictures first, the record that all is done last."""
  from tensorboardX import SummaryWriter  # slow: see report.Metrics

  task = result.task
  pictures = task.pictures(result.state, task.context, data[1])
  for title, picture in pictures.items():
    write_png(workdir.path / f"{title}.png", picture)
  with SummaryWriter(str(workdir.path)) as events:
    for title, picture in pictures.items():
      events.add_image(f"{name}/{title}", picture, steps, dataformats="HWC")
  figures = result.figures | task.judged(result.state, task.context, *splits)
  record = {"steps": steps, "figures": figures, "seconds": round(seconds, 1)}
  workdir.finish(name, record | {"pictures": [f"{title}.png" for title in pictures]})


def _result(workdir: Workdir, name: str, task: Task | Work) -> Finished:
  """What a finished stage made: its examples, or its best state by its held-out figure."""
  if isinstance(task, Work):
    made = task.open(workdir.path / name)
    return Finished(None, None, workdir.done(name)["figures"], task, made)
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
  names = list(itertools.takewhile(workdir.done, config.stages(experiment)))
  if not names:
    first = next(iter(config.stages(experiment)))
    raise BadInput(f"{folder}: its stage {first!r} is not finished; run fit again to go on")
  splits = _open(experiment)
  workdir.check_data(_identity(experiment))
  finished: dict[str, Finished] = {}
  for name in names:
    task = make_task(experiment, name, splits[0], finished)
    finished[name] = _result(workdir, name, task)
  return Run(experiment, finished, splits)


def evaluate(folder: str | pathlib.Path) -> dict[str, dict[str, float]]:
  """Every finished stage's figures on the held-out split, computed anew."""
  run = load(folder)
  mesh = parallel.make_mesh(Parallel())  # whatever machine this is
  figures = {}
  for name, done in run.stages.items():
    stage, task = config.stages(run.config)[name], done.task
    if isinstance(task, Work):
      figures[name] = task.figures(done.splits)
      continue
    batch_size = -(-stage.batch_size // mesh.size) * mesh.size
    program = parallel.compile_task(task, mesh, "jit")
    state, context = program.put(done.state), program.put(task.context)
    held_out_split = _examples(task, run.stages, run.splits)[1]
    held_out = loop.evaluate(task, program, state, context, held_out_split, batch_size)
    figures[name] = held_out | task.judged(done.state, task.context, *run.splits)
  return figures


def parameter_count(params: Any) -> int:
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))
