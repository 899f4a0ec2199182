"""Command lines read by tyro, their errors in one line.

Every verb is a frozen dataclass. `fit` also takes the fields of the experiment that its config
file defines, by dotted path.
"""

import contextlib
import dataclasses
import io
import pathlib
import re
from typing import Annotated, Any

import tyro
from tyro.conf import AvoidSubcommands, FlagConversionOff, Positional, arg

from train import config as configs
from train.config import Experiment
from train.errors import BadInput

_STYLE = (AvoidSubcommands,)


@dataclasses.dataclass(frozen=True)
class Evaluate:
  """Print the figures of a run's finished stages on the held-out split, computed anew."""

  dir: Positional[pathlib.Path]
  """Folder of the run."""


@dataclasses.dataclass(frozen=True)
class Sample:
  """Draw images from a run's prior; writes a sheet of them, and their codes."""

  dir: Positional[pathlib.Path]
  """Folder of the run."""
  num: int = 64
  """How many."""
  label: str | None = None
  """The class, by name or number; all classes in turn where it is not given."""
  temperature: float = 1.0
  """Divides the logits; 0: always the most probable code."""
  top_k: int | None = None
  """Draw from the k most probable codes only."""
  top_p: float | None = None
  """Draw from the most probable codes that hold this mass only."""
  seed: int = 0
  """The same seed, the same samples."""
  output: pathlib.Path | None = None
  """The PNG to write; its codes go beside it as .npz. Default: samples-seedSEED.png in DIR."""


@dataclasses.dataclass(frozen=True)
class Reconstruct:
  """Encode and decode pictures; writes each beside its reconstruction, its codes, and figures."""

  dir: Positional[pathlib.Path]
  """Folder of the run."""
  images: Positional[tuple[pathlib.Path, ...]]
  """PNG or JPEG files, resized and cropped as the run's data was."""
  output: pathlib.Path | None = None
  """Folder to write to. Default: reconstructions/ in DIR."""


def fit_parser(experiment: Experiment) -> type:
  """The dataclass of `fit`'s options for an experiment, whose fields stand at the top level."""
  fields = [
    ("workdir", Annotated[pathlib.Path, arg(help="Folder of the run; new, empty, or its own.")]),
    (
      "dry_run",
      Annotated[
        bool,
        tyro.conf.FlagCreatePairsOff,
        arg(help="Print the resolved config, sizes, mesh, memory and data; write nothing."),
      ],
      dataclasses.field(default=False),
    ),
    (
      "experiment",
      Annotated[type(experiment), arg(name=""), FlagConversionOff],
      dataclasses.field(default=experiment),
    ),
  ]
  return dataclasses.make_dataclass("Fit", fields, frozen=True)


def parse_fit(args: list[str]) -> Any:
  """`fit`'s arguments: workdir, dry_run, and the experiment of the config with its overrides."""
  if not args or args[0].startswith("-"):
    if not args or set(args) & {"-h", "--help"}:
      print(_FIT_HELP, end="")
      raise SystemExit(0 if args else 2)
    raise BadInput(f"fit: the config comes first; found {args[0]!r} (fit CONFIG --workdir DIR ...)")
  experiment = configs.load(args[0])
  known = ["--workdir", "--dry_run", *(f"--{path}" for path in configs.flatten(experiment))]
  for option in args[1:]:
    name = option.split("=")[0].replace("-", "_").replace("__", "--", 1)
    if option.startswith("--") and name not in (*known, "--help"):
      raise BadInput(f"unknown field {option.split('=')[0]}{configs.nearest(name, known)}")
  description = (
    f"Train the experiment {experiment.name!r}, or go on with it, or see that it is done."
  )
  prog = f"python -m train fit {args[0]}"
  parsed = parse(fit_parser(experiment), args[1:], prog=prog, description=description)
  configs.check(parsed.experiment)
  return parsed


def parse(kind: Any, args: list[str], *, prog: str, description: str | None = None) -> Any:
  """Reads a command line; raises BadInput where tyro would print a box and exit with status 2."""
  said = io.StringIO()
  try:
    with contextlib.redirect_stderr(said):
      return tyro.cli(
        kind, args=args, prog=prog, description=description, config=_STYLE, use_underscores=True
      )
  except SystemExit as stop:
    if stop.code in (0, None):
      raise
    raise BadInput(_one_line(said.getvalue())) from None


def _one_line(box: str) -> str:
  """What a box of tyro's says above its first rule."""
  lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
  rule = next((i for i, line in enumerate(lines) if re.fullmatch("─+", line)), len(lines))
  text = " ".join(line for line in lines[:rule] if line)
  return text or " ".join(box.split())


_FIT_HELP = """\
usage: python -m train fit CONFIG --workdir DIR [--dry_run] [--dotted.field value ...]

Train an experiment, go on with one that was stopped, or see that it is done.

CONFIG is a Python file with get_config(), or the name of one in configs/.
`python -m train fit CONFIG --help` lists the fields of that experiment and their values.
"""
