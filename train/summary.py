"""What `fit` and `evaluate` print: the plan of a dry run, figures, and where the pictures are."""

import pathlib

import jax

from train import fields, learn, parallel
from train.config import TrainingStage
from train.report import console
from train.run import Plan
from train.tables import add_figures, figures_table
from train.task import Run, Work, batch_spec
from train.workdir import Workdir


def print_figures(folder: pathlib.Path, stages: dict[str, dict[str, float]]) -> None:
  """The table of `evaluate`."""
  of, note = _split_of(Workdir(folder))
  table = figures_table(f"{folder}{of}")
  for name, figures in stages.items():
    add_figures(table, name, figures)
  console.print(table)
  if note:
    console.print(note)


def print_done(folder: pathlib.Path, done: Run) -> None:
  """The last table of `fit`, and where the pictures are; one process prints it."""
  if jax.process_index() > 0:
    return
  workdir, files = Workdir(folder), []
  of, note = _split_of(workdir)
  table = figures_table(f"{done.config.name} is done{of and f'; figures{of}'}")
  for name in done.stages:
    record = workdir.done(name)
    add_figures(table, name, record["figures"])
    steps = f"{record['steps']} steps, " if record["steps"] else ""
    table.add_row("", "training" if steps else "time", f"{steps}{record['seconds']:.0f} s")
    files += [folder / file for file in record.get("files", record.get("pictures", ()))]
  console.print(table)
  if note:
    console.print(note)
  for path in files:
    console.print(f"{'picture' if path.suffix == '.png' else 'file'}: {path}")


def print_plan(plan: Plan) -> None:
  """Prints what `fit` would do; compiles the steps, runs and writes nothing."""
  experiment, mesh = plan.run.config, plan.mesh
  console.print(f"experiment  {experiment.name}")
  for path, (value, _) in fields.flatten(experiment).items():
    shown = value.__name__ if isinstance(value, type) else repr(value)
    console.print(f"  {path} = {shown}")
  about = ", ".join(f"{k} {_short(v)}" for k, v in plan.run.about.items())
  console.print(f"data        {plan.data}" + (f": {about}" if about else ""))
  kinds = {d.device_kind for d in mesh.devices.flat}
  console.print(
    f"mesh        {mesh.size} devices ({', '.join(kinds)}), {jax.process_count()} processes"
  )
  for name, stage in experiment.stages.items():
    task = plan.tasks[name]
    if isinstance(task, Work):
      console.print(f"{name:12}{task.what()}")
      continue
    examples = task.examples()
    if examples is not None:  # else an earlier stage makes them
      sizes = ", ".join(f"{split} {len(x):,}" for split, x in examples.items())
      console.print(f"{name:12}examples: {sizes}")
    program = parallel.compile_task(task, mesh, "jit")
    state, rows = program.abstract_state, stage.batch_size
    key = jax.eval_shape(lambda: jax.random.key(0))
    lowered = program.step.lower(state, task.context, batch_spec(task, rows), key)
    memory = lowered.compile().memory_analysis()
    console.print(
      f"{name:12}{learn.parameter_count(state.params):,} parameters; {stage.steps:,} steps of "
      f"{rows}, {rows // mesh.size} a device; by jit a step needs "
      f"{(memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**20:,.0f} MiB a device "
      f"({memory.temp_size_in_bytes / 2**20:,.0f} temporary)"
    )


def _split_of(workdir: Workdir) -> tuple[str, str]:
  """' on the split' that figures are of, and what that means; '' where nothing was trained."""
  stages = workdir.config().stages
  if not any(isinstance(stage, TrainingStage) for stage in stages.values()):
    return "", ""
  if "test" in {(workdir.done(name) or {}).get("split") for name in stages}:
    return " on the test split", "checkpoints were chosen on the validation split"
  note = "there is no third split: checkpoints were chosen on this one, too"
  return " on the held-out split", note


def _short(value: object) -> str:
  if isinstance(value, list):
    value = value if len(value) <= 4 else f"{len(value)} names"
    return str(value)
  return f"{value:.4g}" if isinstance(value, float) else str(value)
