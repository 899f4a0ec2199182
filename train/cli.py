"""How a command line is read: by tyro, its errors in one line.

A verb is a frozen dataclass of its arguments with a method `run()`, in its subject's verbs.py; the
table of them is in train/verbs.py. These files import nothing slow: JAX, and all that learns with
it, takes more than a second, so `run` imports what does the work.

`fit` also takes the fields of the experiment that its config file defines, by dotted path, and
another class for a part: `--data Folder --data.path PHOTOS`.
"""

import contextlib
import dataclasses
import io
import itertools
import pathlib
import re
import typing
from typing import Annotated, Any, ClassVar, Self

import tyro
from tyro.conf import AvoidSubcommands, FlagConversionOff, Positional, arg

from train import fields
from train.config import Experiment, Source
from train.errors import BadInput
from train.workdir import Workdir

Directory = Annotated[Positional[pathlib.Path], arg(metavar="DIR")]


@dataclasses.dataclass(frozen=True)
class Verb:
  """What `python -m train VERB ...` does."""

  @classmethod
  def read(cls, args: list[str]) -> Self:
    """The verb with its arguments; raises BadInput."""
    verb = parse(cls, args, prog=f"python -m train {_name_of(cls)}")
    fields.check_limits(verb, "--")
    return verb

  def run(self) -> None:
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class OfRun(Verb):
  """What a verb does with the run in a folder."""

  subject: ClassVar[str] = ""  # what the run's data must be; "": anything
  known: ClassVar[str] = ""  # what such data's source says of them, and others' don't

  dir: Directory
  """Folder of the run."""
  data: Annotated[tuple[str, ...], arg(name="data.FIELD", metavar="VALUE")] = dataclasses.field(
    default=(), kw_only=True
  )
  """A field of the run's data as it is now, such as --data.path where they have moved."""

  @classmethod
  def read(cls, args: list[str]) -> Self:
    """The verb with its arguments; raises BadInput, also where its folder is no such run's."""
    words, data, rest = iter(args), [], []
    for word in words:
      if word.startswith("--data."):
        data += [word, *itertools.islice(words, 0 if "=" in word else 1)]
      else:
        rest.append(word)
    verb = dataclasses.replace(super().read(rest), data=tuple(data))
    Workdir(verb.dir).check_begun()
    if not cls._is_for(verb.dir):
      raise _other_subject(cls, verb.dir, cls.subject)
    return verb

  @classmethod
  def _is_for(cls, folder: str | pathlib.Path) -> bool:
    about = Workdir(folder).about()  # None: of version 0.1, which had images alone
    return not cls.known or cls.known in ({"image_shape"} if about is None else about)

  def source(self) -> Source | None:
    """The run's data as `run.load` takes them."""
    if not self.data:
      return None
    experiment = Workdir(self.dir).config()
    return parse_overrides(experiment, list(self.data), [], prog="python -m train")[0].data


@dataclasses.dataclass(frozen=True)
class BySubject(OfRun):
  """A verb that several subjects have, each with arguments of its own; the run tells which."""

  kinds: ClassVar[tuple[type[OfRun], ...]] = ()

  @classmethod
  def read(cls, args: list[str]) -> OfRun:
    """The verb of the run's subject; without a run in a line that asks for help, that of each."""
    words = [word for word in args if not word.startswith("-")]
    folder = next((word for word in words if Workdir(word).config_file.is_file()), None)
    if folder is None:
      if set(args) & {"-h", "--help"}:
        for kind in cls.kinds:
          with contextlib.suppress(SystemExit):
            kind.read(["--help"])
        raise SystemExit(0)
      if args and words[:1] == args[:1]:
        Workdir(args[0]).check_begun()
      return cls.kinds[0].read(args)  # which says what is wrong
    for kind in cls.kinds:
      if kind._is_for(folder):
        return kind.read(args)
    raise _other_subject(cls, folder, " or ".join(kind.subject for kind in cls.kinds))


def _name_of(verb: type[Verb]) -> str:
  return re.sub("(?<=[a-z])(?=[A-Z])", "-", verb.__name__).lower()


def _other_subject(verb: type[Verb], folder: str | pathlib.Path, subjects: str) -> BadInput:
  return BadInput(f"{folder}: {_name_of(verb)} is for runs of {subjects}, which this is not")


def output_folder(
  folder: pathlib.Path, files: tuple[pathlib.Path, ...], *, what: str
) -> pathlib.Path:
  """The folder that is written to, each file under its name, if that is not over what is read.

  Args:
    what: one of the files, in words.

  Raises:
    BadInput: there are no files, two have one name, or one lies in the folder.
  """
  if not files:
    raise BadInput(f"name at least one {what}, after DIR")
  stems = [path.stem for path in files]
  for path in files:
    if stems.count(path.stem) > 1:
      raise BadInput(f"{path}: another {what} has the name {path.stem!r}; what is written takes it")
    if path.resolve().parent == folder.resolve():
      raise BadInput(f"--output {folder} is the folder of {path}, which would be overwritten")
  return folder


def parse(kind: Any, args: list[str], *, prog: str, description: str | None = None) -> Any:
  """Reads a command line; raises BadInput where tyro would print a box and exit with status 2."""
  said = io.StringIO()
  try:
    with contextlib.redirect_stderr(said):
      return tyro.cli(
        kind,
        args=args,
        prog=prog,
        description=description,
        config=(AvoidSubcommands,),
        use_underscores=True,
      )
  except SystemExit as stop:
    if stop.code in (0, None):
      raise
    raise BadInput(_one_line(said.getvalue())) from None


def parse_overrides(
  experiment: Experiment, args: list[str], options: list[tuple[str, Any, Any]], *, prog: str
) -> tuple[Experiment, Any]:
  """An experiment with the fields that a command line gives it, and what else that says.

  Args:
    options: (name, annotated type, default or MISSING) of what is no field of the experiment.

  Raises:
    BadInput: an option that is none, or a value that can't be.
  """
  experiment, args = _with_classes(experiment, args)
  known = [f"--{name}" for name in (*(o[0] for o in options), *fields.flatten(experiment))]
  for option in args:
    name = option.split("=")[0].replace("-", "_").replace("__", "--", 1)
    if option.startswith("--") and name not in (*known, "--help"):
      raise BadInput(f"unknown field {option.split('=')[0]}{fields.nearest(name, known)}")
  hints = typing.get_type_hints(type(experiment), include_extras=True)
  own = [f.name for f in dataclasses.fields(experiment) if f.name != "stages"]
  values = {name: getattr(experiment, name) for name in own}
  kind_of = lambda name, value: type(value) if dataclasses.is_dataclass(value) else hints[name]
  columns = [
    *((name, kind, dataclasses.field(default=default)) for name, kind, default in options),
    *(
      (name, Annotated[kind_of(name, value), FlagConversionOff], fields.field(value))
      for name, value in (values | experiment.stages).items()
    ),
  ]
  kind = dataclasses.make_dataclass("Fit", columns, frozen=True, kw_only=True)
  said = f"Train the experiment {experiment.name!r}, or go on with it, or see that it is done."
  parsed = parse(kind, args, prog=prog, description=said)
  changed = dataclasses.replace(
    experiment,
    **{name: getattr(parsed, name) for name in own},
    stages={name: getattr(parsed, name) for name in experiment.stages},
  )
  fields.check(changed)
  return changed, parsed


def _with_classes(experiment: Experiment, args: list[str]) -> tuple[Experiment, list[str]]:
  """Takes `--PART CLASS` out of a command line; fields that both classes have keep their values."""
  left, words = [], iter(args)
  for word in words:
    option, equals, name = word.partition("=")
    path = option.removeprefix("--")
    if not option.startswith("--") or not _is_part(experiment, path):
      left.append(word)
      continue
    name = name if equals else next(words, "")
    experiment = _replaced(experiment, path.split("."), name, f"--{path}")
  return experiment, left


def _is_part(experiment: Experiment, path: str) -> bool:
  return isinstance(fields.flatten(experiment).get(path, (None,))[0], type)


def _replaced(config: Any, path: list[str], name: str, option: str, base: Any = None) -> Any:
  """The config with the part at a path made anew, of the class of this name.

  That is one of what the field may hold, `base`; of a stage any stage.
  """
  if not path:
    if not isinstance(base, type):
      base = [c for c in type(config).__mro__ if dataclasses.is_dataclass(c)][-1]
    kinds = {c.__name__: c for c in fields.subclasses(base) if dataclasses.is_dataclass(c)}
    if name not in kinds:
      known = sorted(k for k in kinds if not k.startswith("_") and k != base.__name__)
      near = fields.nearest(name, known)
      raise BadInput(f"{option} is {name!r}; it must be one of {', '.join(known)}{near}")
    both = {f.name for f in dataclasses.fields(config)}
    both &= {f.name for f in dataclasses.fields(kinds[name])}
    return kinds[name](**{field: getattr(config, field) for field in both})
  base = typing.get_type_hints(type(config)).get(path[0])
  part = _replaced(fields.parts(config)[path[0]], path[1:], name, option, base)
  if isinstance(config, Experiment) and path[0] in config.stages:
    return dataclasses.replace(config, stages=config.stages | {path[0]: part})
  return dataclasses.replace(config, **{path[0]: part})


def _one_line(box: str) -> str:
  """What a box of tyro's says before its help; without UTF-8 a title and a rule come first."""
  lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
  parts = re.split(r"\n[─-]{3,}\n?", "\n".join(lines))
  text = parts[1] if re.fullmatch(_TITLES, parts[0].strip()) and len(parts) > 1 else parts[0]
  return " ".join((text or box).split())


_TITLES = "Invalid choice|Parsing error|Required options|Unrecognized options|Value error"
