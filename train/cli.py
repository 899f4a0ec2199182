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
Directory = Annotated[Positional[pathlib.Path], arg(metavar="DIR")]
Images = Annotated[Positional[tuple[pathlib.Path, ...]], arg(metavar="IMAGE ...")]


@dataclasses.dataclass(frozen=True)
class Evaluate:
  """Print the figures of a run's finished stages on the held-out split, computed anew."""

  dir: Directory
  """Folder of the run."""


@dataclasses.dataclass(frozen=True)
class Drawing:
  """How codes are drawn."""

  temperature: float = 1.0
  """Divides the logits; 0: always the most probable code."""
  top_k: int | None = None
  """Draw from the k most probable codes only."""
  top_p: float | None = None
  """Draw from the most probable codes that hold this mass only."""
  seed: int = 0
  """The same seed, the same samples."""


@dataclasses.dataclass(frozen=True)
class Sample(Drawing):
  """Draw images from a run's priors; writes a sheet of them, and their codes."""

  dir: Directory = tyro.MISSING
  """Folder of the run."""
  num: int = 64
  """How many."""
  label: str | None = None
  """The class, by name or number; all classes in turn where it is not given."""
  classifier: pathlib.Path | None = None
  """Folder of a classifier's run: of what is drawn for a class, what it recognizes best is kept."""
  keep: float = 1.0
  """The fraction that is kept, up to 1."""
  output: pathlib.Path | None = None
  """The PNG to write; its codes go beside it as .npz. Default: samples-seedSEED.png in DIR."""


@dataclasses.dataclass(frozen=True)
class Reconstruct:
  """Encode and decode pictures; writes each beside its reconstruction, its codes, and figures."""

  dir: Directory
  """Folder of the run."""
  images: Images
  """PNG or JPEG files, resized and cropped to the size of the run's images."""
  output: pathlib.Path | None = None
  """Folder to write to. Default: reconstructions/ in DIR."""


@dataclasses.dataclass(frozen=True)
class Swap:
  """Show pictures' contents in pictures' styles, by an ML-VAE; writes a sheet, and the latents."""

  dir: Directory
  """Folder of the run."""
  images: Images
  """PNG or JPEG files whose contents are shown, resized and cropped to the run's images; for a run
  on Omniglot black on white, as its files are."""
  styles: tuple[pathlib.Path, ...] = ()
  """Files whose styles are taken. Default: the same."""
  together: bool = False
  """One content: what all images, of one group, tell together."""
  output: pathlib.Path | None = None
  """The PNG to write; contents and styles go beside it as .npz. Default: swap.png in DIR."""


@dataclasses.dataclass(frozen=True)
class Upsample(Drawing):
  """Keep the upper levels' codes of pictures and draw the lower ones' anew."""

  dir: Directory = tyro.MISSING
  """Folder of the run."""
  images: Images = tyro.MISSING
  """PNG or JPEG files, resized and cropped to the size of the run's images."""
  levels: int = 1
  """How many levels are kept, from the top."""
  num: int = 4
  """Versions of each picture."""
  label: str | None = None
  """The class of the pictures, where the prior knows classes."""
  output: pathlib.Path | None = None
  """Folder to write to. Default: upsampled/ in DIR."""


@dataclasses.dataclass(frozen=True)
class Inpaint(Drawing):
  """Draw a part of pictures anew, given the rest."""

  dir: Directory = tyro.MISSING
  """Folder of the run."""
  images: Images = tyro.MISSING
  """PNG or JPEG files, resized and cropped to the size of the run's images."""
  box: tuple[int, int, int, int] = tyro.MISSING
  """The part to draw, in pixels: top, left, bottom, right (the last two are not in it)."""
  margin: int = 1
  """Codes next to the part that are drawn as well, since their encoder saw it."""
  num: int = 4
  """Versions of each picture."""
  label: str | None = None
  """The class of the pictures, where the prior knows classes."""
  output: pathlib.Path | None = None
  """Folder to write to. Default: inpainted/ in DIR."""


@dataclasses.dataclass(frozen=True)
class Score(Drawing):
  """Judge samples against held-out real images, as many for every fraction that is kept.

  FID, precision and recall are taken in the features of the classifier, or of Inception-v3.

  The class asked for is judged by a regression on real images, IS by the classifier's classes.
  """

  dir: Directory = tyro.MISSING
  """Folder of the run whose priors are drawn from."""
  classifier: pathlib.Path = tyro.MISSING
  """Folder of a classifier's run."""
  keep: tuple[float, ...] = (1.0, 0.5, 0.25)
  """Fractions: of what is drawn for a class, what the classifier recognizes best."""
  num: int = 1000
  """Samples that are kept; at most as many held-out images are compared with."""
  inception: pathlib.Path | None = None
  """Weights of the Inception-v3 for FID: a state dict as .npz, or as .pth where torch is there."""
  accuracy_steps: int = 0
  """Steps of a classifier trained on the samples and tested on real images (CAS); 0: none."""
  judge_size: int = 8
  """Side to which images are shrunk for the regression that judges classes."""


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
  """What a box of tyro's says before its help; without UTF-8 a title and a rule come first."""
  lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
  parts = re.split(r"\n[─-]{3,}\n?", "\n".join(lines))
  text = parts[1] if parts[0].strip() in _TITLES and len(parts) > 1 else parts[0]
  return " ".join((text or box).split())


_TITLES = (
  "Invalid choice",
  "Parsing error",
  "Required options",
  "Unrecognized options",
  "Value error",
)

_FIT_HELP = """\
usage: python -m train fit CONFIG --workdir DIR [--dry_run] [--dotted.field value ...]

Train an experiment, go on with one that was stopped, or see that it is done.

CONFIG is a Python file with get_config(), or the name of one in configs/.
`python -m train fit CONFIG --help` lists the fields of that experiment and their values.
"""
