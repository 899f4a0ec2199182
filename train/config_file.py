"""Config files, and experiments as JSON."""

import contextlib
import dataclasses
import importlib
import importlib.util
import pathlib
import re
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from train.config import Experiment, Log, Optimizer, Parallel, Source, Stage
from train.errors import BadInput
from train.fields import check, flatten, from_json, nearest, subclasses, to_json

_SLIPS = (ImportError, AttributeError, NameError)
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def load(config: str) -> Experiment:
  """The experiment of a config file, given by path or by its name in configs/."""
  folder, path = _ROOT / "configs", pathlib.Path(config)
  if path.suffix != ".py":
    path = folder / f"{config}.py"
  if not path.is_file():
    names = sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")
    raise BadInput(
      f"no config {config!r}{nearest(path.stem, names)} (there are {', '.join(names)})"
    )
  module = _execute(path)
  if not hasattr(module, "get_config"):
    raise BadInput(f"{path} defines no get_config()")
  with _explained(path):
    experiment = module.get_config()
  if not isinstance(experiment, Experiment):
    raise BadInput(f"{path}: get_config() returned {type(experiment).__name__}, not an Experiment")
  check(experiment)
  return experiment


def _execute(path: pathlib.Path) -> ModuleType:
  """A config file as a module, under a name by which its classes are found again."""
  name = f"vqlab_config_{path.stem}"
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module  # where tyro looks up what a class's annotations mean
  with _explained(path):
    spec.loader.exec_module(module)
  return module


@contextlib.contextmanager
def _explained(path: pathlib.Path) -> Iterator[None]:
  """What a config file's own code raises becomes a line that says where.

  A slip in the file needs no more; of all else the traceback, from the file on, is printed first.
  """
  try:
    yield
  except BadInput:
    raise
  except Exception as error:
    own, said = str(path.absolute()), " ".join(str(error).split())
    if isinstance(error, SyntaxError) and error.filename == own:
      raise BadInput(f"{path}, line {error.lineno}: {error.msg}") from None
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename != own:
      trace = trace.tb_next
    if trace is None:  # none of its code ran, as of a get_config that takes arguments
      raise BadInput(f"{path}: {said}") from None
    *_, (frame, line) = traceback.walk_tb(trace)
    unknown = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", said)
    if unknown:
      near = nearest(unknown[2], _fields_of(unknown[1]))
      said = f"{unknown[1]} has no field {unknown[2]!r}{near}"
    elif not (frame.f_code.co_filename == own and isinstance(error, _SLIPS)):
      traceback.print_exception(error.with_traceback(trace))
      line, said = trace.tb_lineno, f"{type(error).__name__}: {said}"
    raise BadInput(f"{path}, line {line}: {said}") from None


def _fields_of(name: str) -> list[str]:
  """The fields of the classes of a name that a config can be made of."""
  bases = (Experiment, Stage, Source, Optimizer, Log, Parallel)
  named = [c for base in bases for c in subclasses(base) if c.__name__ == name]
  return [f.name for c in named for f in dataclasses.fields(c)]


def saved(experiment: Experiment) -> dict[str, Any]:
  """The experiment as JSON; `restored` makes it anew, with the file whose classes it is made of."""
  own = {
    sys.modules[cls.__module__].__file__
    for cls in _classes(experiment)
    if not cls.__module__.startswith("train.")
  }
  if len(own) > 1:
    raise BadInput(f"the config's classes are of several files ({', '.join(sorted(own))}); use one")
  file = str(pathlib.Path(own.pop()).resolve()) if own else None
  return {"config_file": file, "config": to_json(experiment, _name_of)}


def restored(values: dict[str, Any], source: str) -> Experiment:
  """The experiment that `saved` wrote; makes classes of train/ and of its config file alone.

  Args:
    source: the file that the values are from, for messages.

  Raises:
    BadInput: a field or a class that can't be.
  """
  try:
    file = values.get("config_file")
    experiment = from_json(values["config"], lambda name: _class_of(name, file))
    if not isinstance(experiment, Experiment):
      raise BadInput(f"its config is {str(experiment)[:40]!r}; it must be an Experiment")
    check(experiment)
  except (BadInput, TypeError) as error:
    raise BadInput(f"{source} is damaged: {error}") from None
  return experiment


def _classes(config: Any) -> set[type]:
  """Of all parts of a config, itself included."""
  values = (value for value, _ in flatten(config).values())
  return {type(config), *(value for value in values if isinstance(value, type))}


def _name_of(cls: type) -> str:
  return f"{cls.__module__ if cls.__module__.startswith('train.') else ''}:{cls.__qualname__}"


def _class_of(name: str, file: str | None) -> type:
  """The class of a name that `_name_of` gave."""
  module, _, qualname = name.rpartition(":")
  found = None
  with contextlib.suppress(ImportError):
    if module.startswith("train."):
      found = getattr(importlib.import_module(module), qualname, None)
    elif not module and file:
      found = getattr(_config_module(pathlib.Path(file)), qualname, None)
  if not dataclasses.is_dataclass(found):
    raise BadInput(
      f"there is no class {name.strip(':')} in {file if file and not module else 'train/'}"
    )
  return found


def _config_module(path: pathlib.Path) -> ModuleType:
  """The module of a config file, executed now unless it was."""
  module = sys.modules.get(f"vqlab_config_{path.stem}")
  if module is not None and pathlib.Path(module.__file__).resolve() == path:
    return module
  if not path.is_file():
    raise BadInput(f"its classes are of the config file {path}, which is missing")
  return _execute(path)
