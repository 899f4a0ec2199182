"""An experiment from its config to its finished stages; what the command line calls.

fit(experiment, "runs/digits")        starts, resumes, or sees that all is done
run = load("runs/digits")             finished stages: models, what they learned, figures
run.the(VQVAEStage)                   one of them, or a line that says what is missing
evaluate("runs/digits")               figures of the finished stages, computed anew
"""

import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from train import fields, loop, parallel
from train.checkpoint import Checkpoints, to_host
from train.config import Experiment, Parallel, Source, TrainingStage
from train.errors import BadInput, Damaged, Failed, Preempted
from train.report import add_pictures, console, write_report
from train.task import Finished, Report, Run, Splits, Task, Work, reported
from train.workdir import Workdir


class Plan(NamedTuple):
  """An experiment whose config, data and devices have been checked against each other."""

  run: Run
  data: str  # which data that is
  mesh: jax.sharding.Mesh
  tasks: dict[str, Task | Work]  # with shapes in place of what earlier stages learn


def plan(experiment: Experiment, about: dict[str, Any] | None = None) -> Plan:
  """Checks everything that can be checked before anything is written to the run's folder.

  Args:
    about: what the run's folder says of the data; None where it is a new one.

  Raises:
    BadInput: a field, the data, or how they fit each other and the devices.
  """
  fields.check(experiment)
  if not experiment.stages:
    raise BadInput(f"the experiment {experiment.name!r} has no stages")
  for path, (value, _) in fields.flatten(experiment).items():
    if value == "float64" and not jax.config.jax_enable_x64:
      raise BadInput(f"{path} is float64; set JAX_ENABLE_X64=1 as well, or take float32")
  mesh = parallel.make_mesh(experiment.parallel)
  for name, stage in experiment.stages.items():
    if isinstance(stage, TrainingStage):
      parallel.check_batch(mesh, stage, name)
  data = experiment.data.prepare() if jax.process_index() == 0 else None
  parallel.wait_for_all("data prepared")
  data, splits = data or experiment.data.prepare(), experiment.data.open()
  run = Run(experiment, {}, about or experiment.data.about(splits), lambda: splits)
  tasks = abstract_tasks(run)
  for name, task in tasks.items():
    if isinstance(task, Task):
      stage = experiment.stages[name]
      parallel.check_memory(mesh, experiment.parallel, task, stage, name)
      task.examples()  # says what it can't use
      if task.start and about is None:
        task.start()  # so does this
  return Plan(run, data, mesh, tasks)


def abstract_tasks(run: Run) -> dict[str, Task | Work]:
  """Every stage's task, made as if the stages before it were finished; computes nothing.

  Raises:
    BadInput: a stage's fields, the data, or how they fit each other.
  """
  for name, stage in run.config.stages.items():
    task, learned = make(run, name), None
    if isinstance(task, Task):
      try:
        learned = jax.eval_shape(task.learned, parallel.abstract_state(task), task.context)
      except ValueError as error:  # a model that can't take these data or these fields
        raise BadInput(f"{name}: {error}") from None
      except (OverflowError, MemoryError) as error:
        raise BadInput(f"{name}: a size is too large ({error})") from None
    done = Finished(stage, task, learned, {})
    run = dataclasses.replace(run, stages=run.stages | {name: done})
  return {name: done.task for name, done in run.stages.items()}


def make(run: Run, name: str) -> Task | Work:
  """The task of a stage; a ValueError becomes a line that names the stage."""
  try:
    return run.config.stages[name].make(run)
  except BadInput:
    raise
  except ValueError as error:
    raise BadInput(f"{name}: {error}") from None


def fit(experiment: Experiment, folder: str | pathlib.Path) -> Run:
  """Runs the stages that are not finished yet, in order, and returns them all.

  Raises:
    BadInput: before anything is written to the folder; or a checkpoint there is another model's.
    Preempted, Failed: see `loop.train`; the same call continues.
  """
  workdir = Workdir(folder)
  workdir.check(experiment)
  planned = plan(experiment, workdir.about())
  run = dataclasses.replace(planned.run, folder=str(workdir.path))
  _claim(workdir, experiment, planned)
  stop, first = loop.StopRequest(), jax.process_index() == 0
  try:
    names = list(experiment.stages)
    for name in names:
      task, done = make(run, name), None
      if workdir.is_done(name, experiment):
        steps = workdir.done(name)["steps"]
        if first:
          console.print(f"{name}: done ({steps} steps)" if steps else f"{name}: done")
        try:
          done = _result(workdir, run, name, task)
        except Damaged as error:  # what it made can be made anew
          said = str(error).split("; run ")[0]
          console.print(f"{name}: {said}; what is damaged is done again")
      if done is None:
        work = _work if isinstance(task, Work) else functools.partial(_train, mesh=planned.mesh)
        done = work(workdir, run, name, task, stop)
        parallel.wait_for_all(f"{name} finished")
        if stop() and name != names[-1]:
          raise Preempted(f"stopped when {name} was finished")
      run = dataclasses.replace(run, stages=run.stages | {name: done})
    return run
  finally:
    workdir.release()


def _work(workdir: Workdir, run: Run, name: str, task: Work, stop: Callable[[], bool]) -> Finished:
  start, folder = time.monotonic(), workdir.path / name
  if jax.process_index() == 0:
    console.print(f"{name}: {task.what()}")
  task.run(folder, stop)
  made = task.open(folder)
  figures = task.figures(made)
  if jax.process_index() == 0:
    seconds = round(time.monotonic() - start, 1)
    files = [f"{name}/{file}" for file in task.files]
    workdir.finish(name, steps=0, seconds=seconds, figures=dict(figures), files=files)
  return Finished(run.config.stages[name], task, made, figures)


def _train(
  workdir: Workdir,
  run: Run,
  name: str,
  task: Task,
  stop: Callable[[], bool],
  mesh: jax.sharding.Mesh,
) -> Finished:
  config, stage = run.config, run.config.stages[name]
  index, examples = list(config.stages).index(name), task.examples()
  program = parallel.compile_task(task, mesh, config.parallel.mode)
  checkpoints = Checkpoints(
    workdir.checkpoints(name), best=task.best, keep=config.log.keep_checkpoints
  )
  try:
    seconds = loop.train(
      name,
      stage,
      task,
      program,
      examples,
      checkpoints,
      workdir.path,
      log=config.log,
      key=jax.random.fold_in(jax.random.key(config.seed), index),
      seed=config.seed + index,
      stop=stop,
    )
  finally:
    checkpoints.close()
  result = _best(workdir, run, name, task)
  if "test" in examples:
    figures = loop.evaluate(*_placed(result, program), examples["test"], _rows(stage, mesh))
    result = result._replace(figures=figures)
  if jax.process_index() == 0:
    _finish(workdir, name, result, examples, seconds)
  return result


def _rows(stage: TrainingStage, mesh: jax.sharding.Mesh) -> int:
  """Examples evaluated at once, an equal share for each device."""
  return -(-(stage.eval_batch_size or stage.batch_size) // mesh.size) * mesh.size


def _placed(done: Finished, program: parallel.Program) -> tuple[Any, ...]:
  """What `loop.evaluate` takes of a finished stage, on the program's devices."""
  return done.task, program, program.put(done.learned), program.put(done.task.context)


def _claim(workdir: Workdir, experiment: Experiment, planned: Plan) -> None:
  """The first process claims the folder; where it can't, all of them stop."""
  refused: BadInput | None = None
  if jax.process_index() == 0:
    try:
      workdir.claim(experiment, planned.data, planned.run.about)
    except BadInput as error:
      refused = error
  if jax.process_count() > 1:
    ok = multihost_utils.broadcast_one_to_all(np.asarray(refused is None))
    if not ok and refused is None:
      refused = BadInput(f"--workdir {workdir.path} was refused; the first process says why")
  if refused:
    raise refused


def _finish(
  workdir: Workdir, name: str, result: Finished, examples: Splits, seconds: float
) -> None:
  """The report first, the record that all is done last."""
  from tensorboardX import SummaryWriter  # slow: see report.Metrics

  report: Report = result.task.report(result.learned, examples)
  write_report(workdir.path / name, report.files)
  with SummaryWriter(str(workdir.path)) as events:
    add_pictures(events, name, result.stage.steps, report.files)
  workdir.finish(
    name,
    steps=result.stage.steps,
    seconds=round(seconds, 1),
    figures={**result.figures, **report.figures},
    files=[f"{name}/{file}" for file in report.files],
    split="test" if "test" in examples else "eval",
  )


def _result(workdir: Workdir, run: Run, name: str, task: Task | Work) -> Finished:
  """What a finished stage made: its examples, or what its best state learned."""
  if isinstance(task, Work):
    done = Finished(run.config.stages[name], task, task.open(workdir.path / name), {})
  else:
    done = _best(workdir, run, name, task)
  return done._replace(figures=workdir.done(name)["figures"])


def _best(workdir: Workdir, run: Run, name: str, task: Task) -> Finished:
  """What the best state by the held-out figure learned, and the figures of then."""
  folder = workdir.checkpoints(name)
  if not folder.is_dir():
    raise BadInput(f"{workdir.path} has no checkpoint of {name}: {folder} is missing")
  checkpoints = Checkpoints(folder, best=task.best, read_only=True)
  try:
    step = checkpoints.best()
    if step is None:
      raise BadInput(f"{folder} holds no whole checkpoint of {name} that was evaluated")
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    try:
      state = checkpoints.restore(step, parallel.abstract_state(task, here))
    except BadInput:
      raise
    except Exception as error:
      reason = str(error).strip().splitlines()[0][:200]
      raise Failed(f"checkpoint {folder / str(step)} can't be read: {reason}") from error
    learned = to_host(jax.jit(task.learned)(state, task.context))
    return Finished(run.config.stages[name], task, learned, checkpoints.figures(step) or {})
  finally:
    checkpoints.close()


def load(folder: str | pathlib.Path, data: Source | None = None) -> Run:
  """The finished stages of a run's folder, each with its best checkpoint, on the host.

  The data need not be there, unless they are asked for (`Run.splits`).

  Args:
    data: the run's source with other values of fields that may vary: where the data are now, say.

  Raises:
    BadInput: the folder holds no experiment, none of its stages is finished, or its checkpoints
      are missing or another model's.
  """
  parallel.all_devices()  # says what is wrong with them before anything needs one
  workdir = Workdir(folder)
  experiment = workdir.config()
  if data is not None:
    moved = dataclasses.replace(experiment, data=data)
    if changed := fields.changes(experiment, moved):
      raise BadInput(f"{folder} was begun with other data ({'; '.join(changed)})")
    experiment = moved
  names = list(itertools.takewhile(workdir.done, experiment.stages))
  if not names:
    first = next(iter(experiment.stages))
    raise BadInput(f"{folder}: its stage {first!r} is not finished; run fit again to go on")

  @functools.cache
  def opened() -> Any:
    workdir.check_data(experiment.data, experiment.data.prepare())
    return experiment.data.open()

  about = workdir.about()
  if about is None:  # of version 0.1
    about = experiment.data.about(opened())
  run = Run(experiment, {}, about, opened, str(workdir.path))
  for name in names:
    done = _result(workdir, run, name, make(run, name))
    run = dataclasses.replace(run, stages=run.stages | {name: done})
  return run


def evaluate(folder: str | pathlib.Path, data: Source | None = None) -> dict[str, dict[str, float]]:
  """Every finished stage's figures on the split they are reported on, anew; `data`: see `load`."""
  run = load(folder, data)
  mesh = parallel.make_mesh(Parallel())  # whatever machine this is
  figures = {}
  for name, done in run.stages.items():
    task = done.task
    if isinstance(task, Work):
      figures[name] = task.figures(done.learned)
      continue
    program, examples = parallel.compile_task(task, mesh, "jit"), task.examples()
    split, rows = reported(examples), _rows(done.stage, mesh)
    found = loop.evaluate(*_placed(done, program), split, rows)
    figures[name] = found | dict(task.report(done.learned, examples).figures)
  return figures
