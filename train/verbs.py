"""The verbs by name; here those of every experiment, fit and evaluate."""

import dataclasses
import pathlib
from typing import Annotated, Self

import jax
from tyro.conf import FlagCreatePairsOff, arg

from train import cli, compile_cache, config_file, fields, learn, parallel, run
from train.cli import OfRun, Verb
from train.config import Experiment
from train.errors import BadInput
from train.images.generating import Inpaint, Reconstruct, Sample, Upsample
from train.images.scoring import Score
from train.images.swapping import Swap
from train.report import console
from train.tables import add_figures, figures_table
from train.task import Work, batch_spec
from train.workdir import Workdir

_FIT_HELP = """\
usage: python -m train fit CONFIG --workdir DIR [--dry_run] [--dotted.field value ...]

Train an experiment, go on with one that was stopped, or see that it is done.

CONFIG is a Python file with get_config(), or the name of one in configs/.
`python -m train fit CONFIG --help` lists the fields of that experiment and their values; a part of
another class is given by the class's name, as in --data Folder --data.path PHOTOS.
"""

_PATH = Annotated[pathlib.Path, arg(help="Folder of the run; new, empty, or its own.")]
_DRY = "Print the resolved config, sizes, mesh, memory and data; write nothing."
_OPTIONS = [
  ("workdir", _PATH, dataclasses.MISSING),
  ("dry_run", Annotated[bool, FlagCreatePairsOff, arg(help=_DRY)], False),
]


@dataclasses.dataclass(frozen=True)
class Fit(Verb):
  """Train an experiment, go on with one that was stopped, or see that it is done."""

  experiment: Experiment
  workdir: pathlib.Path
  dry_run: bool

  @classmethod
  def read(cls, args: list[str]) -> Self:
    if not args or args[0].startswith("-"):
      if not args or set(args) & {"-h", "--help"}:
        print(_FIT_HELP, end="")
        raise SystemExit(0 if args else 2)
      raise BadInput(
        f"fit: the config comes first; found {args[0]!r} (fit CONFIG --workdir DIR ...)"
      )
    prog = f"python -m train fit {args[0]}"
    experiment, parsed = cli.parse_overrides(
      config_file.load(args[0]), args[1:], _OPTIONS, prog=prog
    )
    return cls(experiment, parsed.workdir, parsed.dry_run)

  def run(self) -> None:
    parallel.join(self.experiment.parallel)
    compile_cache.enable()
    if self.dry_run:
      workdir = Workdir(self.workdir)
      workdir.check(self.experiment)
      _print_plan(run.plan(self.experiment, workdir.about()))
      return
    done = run.fit(self.experiment, self.workdir)
    if jax.process_index() == 0:
      _summary(self.workdir, done)


@dataclasses.dataclass(frozen=True)
class Evaluate(OfRun):
  """Print the figures of a run's finished stages, computed anew."""

  def run(self) -> None:
    compile_cache.enable()
    split, note = _split_of(Workdir(self.dir))
    table = figures_table(f"{self.dir} on the {split} split")
    for name, figures in run.evaluate(self.dir, self.source()).items():
      add_figures(table, name, figures)
    console.print(table)
    console.print(note)


VERBS: dict[str, type[Verb]] = {
  "fit": Fit,
  "evaluate": Evaluate,
  "sample": Sample,
  "reconstruct": Reconstruct,
  "upsample": Upsample,
  "inpaint": Inpaint,
  "swap": Swap,
  "score": Score,
}


def _split_of(workdir: Workdir) -> tuple[str, str]:
  """Which split figures are of, and what that means."""
  stages = workdir.config().stages
  if "test" in {(workdir.done(name) or {}).get("split") for name in stages}:
    return "test", "checkpoints were chosen on the validation split"
  return "held-out", "there is no third split: checkpoints were chosen on this one, too"


def _summary(folder: pathlib.Path, done: run.Run) -> None:
  """The last table of `fit`, and where the pictures are."""
  workdir, files = Workdir(folder), []
  split, note = _split_of(workdir)
  table = figures_table(f"{done.config.name} is done; figures on the {split} split")
  for name in done.stages:
    record = workdir.done(name)
    add_figures(table, name, record["figures"])
    steps = f"{record['steps']} steps, " if record["steps"] else ""
    table.add_row("", "training" if steps else "time", f"{steps}{record['seconds']:.0f} s")
    files += [folder / file for file in record.get("files", record.get("pictures", ()))]
  console.print(table)
  console.print(note)
  for path in files:
    console.print(f"{'picture' if path.suffix == '.png' else 'file'}: {path}")


def _print_plan(plan: run.Plan) -> None:
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
      console.print(f"{name:12}{task.count():,} examples")
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


def _short(value: object) -> str:
  if isinstance(value, list):
    value = value if len(value) <= 4 else f"{len(value)} names"
    return str(value)
  return f"{value:.4g}" if isinstance(value, float) else str(value)
