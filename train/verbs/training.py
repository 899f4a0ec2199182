"""Training and its figures: fit, evaluate."""

import pathlib

import jax
import numpy as np

from train import cli, compile_cache, config, parallel, run
from train.report import console
from train.task import Work
from train.verbs.tables import add_figures, figures_table
from train.workdir import Workdir


def fit(args: list[str]) -> None:
  """Trains, or with --dry_run says what it would do."""
  parsed = cli.parse_fit(args)
  experiment = parsed.experiment
  parallel.join(experiment.parallel)
  compile_cache.enable()
  if parsed.dry_run:
    Workdir(parsed.workdir).check(experiment)
    dry_run(experiment)
    return
  done = run.fit(experiment, parsed.workdir)
  if jax.process_index() == 0:
    summary(parsed.workdir, done)


def evaluate(args: list[str]) -> None:
  parsed = cli.parse(cli.Evaluate, args, prog="python -m train evaluate")
  compile_cache.enable()
  table = figures_table(f"{parsed.dir} on the held-out split")
  for name, figures in run.evaluate(parsed.dir).items():
    add_figures(table, name, figures)
  console.print(table)


def summary(folder: pathlib.Path, done: run.Run) -> None:
  """The last table of `fit`, and where the pictures are."""
  workdir = Workdir(folder)
  table, pictures = figures_table(f"{done.config.name} is done"), []
  for name in done.stages:
    record = workdir.done(name)
    add_figures(table, name, record["figures"])
    steps = f"{record['steps']} steps, " if record["steps"] else ""
    table.add_row("", "training" if steps else "time", f"{steps}{record['seconds']:.0f} s")
    pictures += [folder / picture for picture in record["pictures"]]
  console.print(table)
  for path in pictures:
    console.print(f"picture: {path}")


def dry_run(experiment: config.Experiment) -> None:
  """Prints what `fit` would do; compiles the steps, runs and writes nothing."""
  plan = run.plan(experiment)
  console.print(f"experiment  {experiment.name}")
  for path, (value, _) in config.flatten(experiment).items():
    console.print(f"  {path} = {value!r}")
  for title, split in zip(("training", "held-out"), plan.splits, strict=True):
    size = "x".join(map(str, split.image_shape))
    console.print(f"data        {title}: {len(split)} images {size}, {split.num_classes} classes")
  kinds = {d.device_kind for d in plan.mesh.devices.flat}
  console.print(
    f"mesh        {plan.mesh.size} devices ({', '.join(kinds)}), {jax.process_count()} processes"
  )
  for name, stage in config.stages(experiment).items():
    task = plan.tasks[name]
    if isinstance(task, Work):
      console.print(f"{name:12}{sum(map(len, plan.splits)):,} examples")
      continue
    program = parallel.compile_task(task, plan.mesh, "jit")
    state, rows = program.abstract_state, stage.batch_size
    context = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), task.context)
    example = task.example | {"index": jax.ShapeDtypeStruct((), np.int32)}
    batch = jax.tree.map(lambda x, n=rows: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), example)
    key = jax.eval_shape(lambda: jax.random.key(0))
    memory = program.step.lower(state, context, batch, key).compile().memory_analysis()
    console.print(
      f"{name:12}{run.parameter_count(state.params):,} parameters; {stage.steps:,} steps of "
      f"{rows}, {rows // plan.mesh.size} a device; by jit a step needs "
      f"{(memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**20:,.0f} MiB a device "
      f"({memory.temp_size_in_bytes / 2**20:,.0f} temporary)"
    )
