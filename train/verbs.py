"""The verbs by name; here those of every experiment, and which subjects share one."""

import dataclasses
import pathlib
from typing import Annotated, ClassVar, Self

from tyro.conf import FlagCreatePairsOff, arg

from train import cli, config_file
from train.audio import verbs as audio
from train.cli import BySubject, OfRun, Verb
from train.config import Experiment
from train.errors import BadInput
from train.images import verbs as images
from train.images.verbs import Inpaint, Score, Swap, Upsample
from train.ratings.verbs import Compare, Recommend
from train.video.verbs import Import, Models, Predict, PredictFrames, Reencode
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
    from train import compile_cache, parallel, run, summary

    parallel.join(self.experiment.parallel)
    compile_cache.enable()
    if self.dry_run:
      workdir = Workdir(self.workdir)
      workdir.check(self.experiment)
      summary.print_plan(run.plan(self.experiment, workdir.about()))
    else:
      summary.print_done(self.workdir, run.fit(self.experiment, self.workdir))


@dataclasses.dataclass(frozen=True)
class Evaluate(OfRun):
  """Print the figures of a run's finished stages, computed anew."""

  def run(self) -> None:
    from train import compile_cache, run, summary

    compile_cache.enable()
    summary.print_figures(self.dir, run.evaluate(self.dir, self.source()))


@dataclasses.dataclass(frozen=True)
class Sample(BySubject):
  """Draw from a run's priors."""

  kinds: ClassVar[tuple[type[OfRun], ...]] = (images.Sample, audio.Sample)


@dataclasses.dataclass(frozen=True)
class Reconstruct(BySubject):
  """Encode and decode files."""

  kinds: ClassVar[tuple[type[OfRun], ...]] = (images.Reconstruct, audio.Reconstruct)


VERBS: dict[str, type[Verb]] = {
  "fit": Fit,
  "evaluate": Evaluate,
  "sample": Sample,
  "reconstruct": Reconstruct,
  "convert": audio.Convert,
  "upsample": Upsample,
  "inpaint": Inpaint,
  "swap": Swap,
  "score": Score,
  "predict": Predict,
  "predict-frames": PredictFrames,
  "reencode": Reencode,
  "import": Import,
  "models": Models,
  "recommend": Recommend,
  "compare": Compare,
}
