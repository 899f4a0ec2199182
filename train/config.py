"""Experiments as frozen dataclasses: their common parts, checks, and how two of them differ.

A config file defines `get_config() -> Experiment`. Every field has a dotted path, by which the
command line overrides it and by which an error names it. Metadata of a field says what values are
possible (`least`, `most`) and whether it may change when a run resumes (`may_vary`).
"""

import dataclasses
import difflib
import importlib.util
import math
import pathlib
import re
import sys
import types
import typing
from typing import Any, Literal

from train.data import Data
from train.errors import BadInput


def field(
  default: Any,
  *,
  least: float | None = None,
  most: float | None = None,
  may_vary: bool = False,
) -> Any:
  """A dataclass field with its limits; `may_vary`: a resumed run may have it otherwise."""
  metadata = {"least": least, "most": most, "may_vary": may_vary}
  if dataclasses.is_dataclass(default):
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """Adam (AdamW where there is weight decay)."""

  learning_rate: float = field(2e-4, least=0)
  b1: float = field(0.9, least=0, most=1)
  b2: float = field(0.999, least=0, most=1)
  weight_decay: float = field(0.0, least=0)
  warmup_steps: int = field(0, least=0)
  """Steps over which the learning rate rises from 0."""
  schedule: Literal["constant", "cosine"] = field("constant")
  """What the learning rate does after the warm-up; "cosine" ends at 0 on the last step."""
  clip_norm: float = field(0.0, least=0)
  """Largest global norm of a gradient; 0 leaves gradients as they are."""


@dataclasses.dataclass(frozen=True)
class Stage:
  """What every stage has."""

  batch_size: int = field(128, least=1)
  """Examples a step, over all devices."""


@dataclasses.dataclass(frozen=True)
class TrainingStage(Stage):
  """What every stage that trains has."""

  steps: int = field(1000, least=1, may_vary=True)
  """Training steps; a finished run continues when they are raised."""
  eval_every: int = field(1000, least=1, may_vary=True)
  """Steps between evaluations on the held-out split; the last step has one, too."""
  checkpoint_every: int = field(1000, least=1, may_vary=True)
  """Steps between checkpoints; evaluations and the last step have one, too."""
  optimizer: Optimizer = field(Optimizer())
  dtype: Literal["float32", "bfloat16", "float64"] = field("float32")
  """Of the computation; codes, statistics and losses stay float32 at least."""
  param_dtype: Literal["float32", "float64"] = field("float32")


@dataclasses.dataclass(frozen=True)
class Log:
  """What is written while training."""

  every: int = field(50, least=1, may_vary=True)
  """Steps between lines of metrics."""
  pictures_every: int = field(0, least=0, may_vary=True)
  """Steps between pictures; 0: only when a stage is finished."""
  keep_checkpoints: int = field(2, least=1, may_vary=True)
  """How many of the latest checkpoints stay, besides the best."""


@dataclasses.dataclass(frozen=True)
class Parallel:
  """Devices and processes."""

  mode: Literal["jit", "pmap"] = field("jit", may_vary=True)
  """How the training step is compiled: jit over a mesh, or pmap."""
  devices: int = field(0, least=0, may_vary=True)
  """Devices to use; 0: all."""
  distributed: bool = field(False, may_vary=True)
  """Join the other processes of a cluster; every worker runs the same command."""
  coordinator: str = field("", may_vary=True)
  """host:port of process 0, where the cluster does not tell."""
  num_processes: int = field(0, least=0, may_vary=True)
  """Number of processes, where the cluster does not tell."""
  process_id: int = field(-1, least=-1, may_vary=True)
  """This process, where the cluster does not tell."""


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What every experiment has. A subclass adds its stages, in the order they run."""

  name: str = field("experiment")
  seed: int = field(0, least=0, most=2**31 - 1)
  data: Data = field(Data())
  log: Log = field(Log())
  parallel: Parallel = field(Parallel())


def stages(experiment: Experiment) -> dict[str, Stage]:
  """The stages by name, in order."""
  values = {f.name: getattr(experiment, f.name) for f in dataclasses.fields(experiment)}
  return {name: value for name, value in values.items() if isinstance(value, Stage)}


def flatten(config: Any, prefix: str = "") -> dict[str, tuple[Any, dataclasses.Field]]:
  """Every leaf by its dotted path: its value and its field."""
  leaves = {}
  for f in dataclasses.fields(config):
    value = getattr(config, f.name)
    if dataclasses.is_dataclass(value):
      leaves |= flatten(value, f"{prefix}{f.name}.")
    else:
      leaves[prefix + f.name] = (value, f)
  return leaves


def check(config: Any, prefix: str = "") -> None:
  """Raises BadInput that names the first field of a wrong type or with an impossible value."""
  hints = typing.get_type_hints(type(config))
  for f in dataclasses.fields(config):
    path, value, hint = prefix + f.name, getattr(config, f.name), hints[f.name]
    if not _fits(value, hint):
      raise BadInput(f"{path} is {value!r}; it must be {_name(hint)}")
    if dataclasses.is_dataclass(value):
      check(value, path + ".")
    for number in value if isinstance(value, tuple) else (value,):
      if not isinstance(number, (int, float)) or isinstance(number, bool):
        continue
      least, most = f.metadata.get("least"), f.metadata.get("most")
      if not math.isfinite(number):
        raise BadInput(f"{path} is {value}; it must be finite")
      if least is not None and number < least:
        raise BadInput(f"{path} is {value}; it must be at least {least}")
      if most is not None and number > most:
        raise BadInput(f"{path} is {value}; it must be at most {most}")


def _fits(value: Any, hint: Any) -> bool:
  origin = typing.get_origin(hint)
  if origin is Literal:
    return value in typing.get_args(hint)
  if origin is tuple:  # tuple[X, ...], not empty
    return (
      isinstance(value, tuple) and bool(value) and all(_fits(v, hint.__args__[0]) for v in value)
    )
  if origin in (typing.Union, types.UnionType):
    return any(_fits(value, h) for h in typing.get_args(hint))
  if hint is float:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  if hint is int:
    return isinstance(value, int) and not isinstance(value, bool)
  return isinstance(value, hint or type(None))


def _name(hint: Any) -> str:
  if typing.get_origin(hint) is Literal:
    return "one of " + ", ".join(map(repr, typing.get_args(hint)))
  if typing.get_origin(hint) is tuple:
    return f"a tuple of {_name(hint.__args__[0])}"
  return getattr(hint, "__name__", str(hint))


def changes(old: Experiment, new: Experiment) -> list[str]:
  """The fields, as 'path: old -> new', in which a run must not differ from the one it resumes."""
  before, after = flatten(old), flatten(new)
  return [
    f"{path}: {before[path][0]!r} -> {value!r}"
    for path, (value, f) in after.items()
    if path in before and value != before[path][0] and not f.metadata.get("may_vary")
  ]


def from_dict(cls: type, values: dict[str, Any], source: str) -> Any:
  """The config that `dataclasses.asdict` took apart; BadInput names a field that can't be."""

  def build(cls: type, values: dict, prefix: str) -> Any:
    if not isinstance(values, dict) or not dataclasses.is_dataclass(cls):
      raise BadInput(f"{source}: {prefix or 'the config'} is damaged; found {values!r}")
    hints = typing.get_type_hints(cls)
    for name in values:
      if name not in hints:
        raise BadInput(f"{source}: unknown field {prefix}{name}{nearest(name, hints)}")

    def read(name: str, value: Any) -> Any:
      if isinstance(value, list):  # JSON knows no tuples
        return tuple(value)
      return build(hints[name], value, f"{prefix}{name}.") if isinstance(value, dict) else value

    return cls(**{name: read(name, value) for name, value in values.items()})

  config = build(cls, values, "")
  check(config)
  return config


def nearest(word: str, known: typing.Iterable[str]) -> str:
  """'; did you mean X?' for the nearest of the known words, or ''."""
  matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
  return f"; did you mean {matches[0]}?" if matches else ""


def load(config: str) -> Experiment:
  """The experiment of a config file, given by path or by its name in configs/."""
  folder = pathlib.Path(__file__).resolve().parent.parent / "configs"
  path = pathlib.Path(config)
  if path.suffix != ".py":
    path = folder / f"{config}.py"
  if not path.is_file():
    names = sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")
    raise BadInput(
      f"no config {config!r}{nearest(path.stem, names)} (there are {', '.join(names)})"
    )
  spec = importlib.util.spec_from_file_location(f"vqlab_config_{path.stem}", path)
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module  # where tyro looks up what a class's annotations mean
  try:
    spec.loader.exec_module(module)
    experiment = module.get_config()
  except TypeError as error:
    unknown = re.search(
      r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error)
    )
    if not unknown:
      raise
    known = [
      f.name
      for cls in (*_subclasses(Experiment), *_subclasses(Stage), Optimizer, Log, Parallel, Data)
      if cls.__name__ == unknown[1]
      for f in dataclasses.fields(cls)
    ]
    raise BadInput(
      f"{path}: {unknown[1]} has no field {unknown[2]!r}{nearest(unknown[2], known)}"
    ) from None
  except AttributeError as error:
    if "get_config" not in str(error):
      raise
    raise BadInput(f"{path} defines no get_config()") from None
  if not isinstance(experiment, Experiment):
    raise BadInput(f"{path}: get_config() returned {type(experiment).__name__}, not an Experiment")
  check(experiment)
  return experiment


def _subclasses(cls: type) -> list[type]:
  return [cls, *(s for sub in cls.__subclasses__() for s in _subclasses(sub))]
