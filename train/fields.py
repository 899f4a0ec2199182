"""Fields of frozen dataclasses: their limits, paths, checks, differences, and JSON.

Metadata of a field says what values are possible (`least`, `most`) and whether it may change when a
run resumes (`may_vary`). Every value has a dotted path, by which the command line overrides it and
an error names it. A dataclass among the values, and a dict of such, is a part; a part may be of any
subclass of what its field says, and its class is as much a value as its fields are.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal

from train.errors import BadInput


def field(
  default: Any = dataclasses.MISSING,
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


def parts(config: Any) -> dict[str, Any]:
  """The parts directly in a config by name; those in a dict stand at the dict's own level."""
  found = {}
  for f in dataclasses.fields(config):
    value = getattr(config, f.name)
    found |= value if isinstance(value, dict) else {f.name: value}
  return {path: value for path, value in found.items() if dataclasses.is_dataclass(value)}


def flatten(config: Any, prefix: str = "") -> dict[str, tuple[Any, bool]]:
  """Every value by its dotted path, and whether it may vary; of a part its class by the part's."""
  values = {}
  for f in dataclasses.fields(config):
    value = getattr(config, f.name)
    if not isinstance(value, dict) and not dataclasses.is_dataclass(value):
      values[prefix + f.name] = (value, f.metadata.get("may_vary", False))
  for name, part in parts(config).items():
    values[prefix + name] = (type(part), False)
    values |= flatten(part, f"{prefix}{name}.")
  return values


def check(config: Any, prefix: str = "") -> None:
  """Raises BadInput that names the first field of a wrong type or with an impossible value."""
  hints = typing.get_type_hints(type(config))
  for f in dataclasses.fields(config):
    path, value, hint = prefix + f.name, getattr(config, f.name), hints[f.name]
    if not fits(value, hint):
      raise BadInput(f"{path} is {value!r}; it must be {described(hint)}")
  check_limits(config, prefix)
  for name, part in parts(config).items():
    check(part, f"{prefix}{name}.")


def check_limits(config: Any, prefix: str) -> None:
  """Raises BadInput that names the first field with an impossible number."""
  for f in dataclasses.fields(config):
    path, value = prefix + f.name, getattr(config, f.name)
    for number in value if isinstance(value, tuple) else (value,):
      if not isinstance(number, (int, float)) or isinstance(number, bool):
        continue
      least, most = f.metadata.get("least"), f.metadata.get("most")
      if not math.isfinite(number):
        raise BadInput(f"{path} is {number}; it must be finite")
      if least is not None and number < least:
        raise BadInput(f"{path} is {number}; it must be at least {least}")
      if most is not None and number > most:
        raise BadInput(f"{path} is {number}; it must be at most {most}")


def fits(value: Any, hint: Any) -> bool:
  """Whether a value is of an annotated type."""
  origin = typing.get_origin(hint)
  if origin is Literal:
    return value in typing.get_args(hint)
  if origin is tuple:  # tuple[X, ...], not empty
    items = value if isinstance(value, tuple) else ()
    return bool(items) and all(fits(v, hint.__args__[0]) for v in items)
  if origin is dict:
    return isinstance(value, dict) and all(fits(v, hint.__args__[1]) for v in value.values())
  if origin in (typing.Union, types.UnionType):
    return any(fits(value, h) for h in typing.get_args(hint))
  if hint in (int, float):
    kinds = (int, float) if hint is float else int
    return isinstance(value, kinds) and not isinstance(value, bool)
  return hint is Any or isinstance(value, hint or type(None))


def described(hint: Any) -> str:
  """What an error line calls a type."""
  if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
    return " or ".join(map(described, typing.get_args(hint)))
  if hint is type(None):
    return "None"
  if typing.get_origin(hint) is Literal:
    return "one of " + ", ".join(map(repr, typing.get_args(hint)))
  if typing.get_origin(hint) is tuple:
    return f"a tuple of {described(hint.__args__[0])}"
  return getattr(hint, "__name__", str(hint))


def changes(old: Any, new: Any) -> list[str]:
  """The fields, as 'path: old -> new', in which a run must not differ from the one it resumes."""
  before, after = flatten(old), flatten(new)
  # A class by its name: one of a config file is made anew whenever the file is read.
  shown = lambda value: value.__qualname__ if isinstance(value, type) else repr(value)
  changed = []
  for path in dict.fromkeys((*before, *after)):
    # Of a part whose class has changed, that alone is said, and nothing of its fields.
    if any(path.startswith(f"{other.split(':')[0]}.") for other in changed):
      continue
    (a, _), (b, may_vary) = (values.get(path, (None, False)) for values in (before, after))
    if shown(a) != shown(b) and not may_vary:
      changed.append(f"{path}: {shown(a)} -> {shown(b)}")
  return changed


def to_json(config: Any, name_of: Callable[[type], str]) -> dict[str, Any]:
  """A config as JSON has it, each part tagged with its class."""

  def written(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
      return to_json(value, name_of)
    return {k: written(v) for k, v in value.items()} if isinstance(value, dict) else value

  values = {f.name: written(getattr(config, f.name)) for f in dataclasses.fields(config)}
  return {"class": name_of(type(config)), **values}


def from_json(value: Any, class_of: Callable[[str], type]) -> Any:
  """What `to_json` took apart, lists as tuples; `check` it then.

  Raises:
    BadInput: a class has no such field.
  """
  if isinstance(value, list):
    return tuple(from_json(v, class_of) for v in value)
  if not isinstance(value, dict):
    return value
  values = {k: from_json(v, class_of) for k, v in value.items()}
  if "class" not in values:
    return values
  cls = class_of(values.pop("class"))
  known = [f.name for f in dataclasses.fields(cls)]
  for name in values:
    if name not in known:
      raise BadInput(f"{cls.__name__} has no field {name!r}{nearest(name, known)}")
  return cls(**values)


def nearest(word: str, known: Iterable[str]) -> str:
  """'; did you mean X?' for the nearest of the known words, or ''."""
  matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
  return f"; did you mean {matches[0]}?" if matches else ""


def subclasses(cls: type) -> list[type]:
  """A class and all that derive from it."""
  return [cls, *(s for sub in cls.__subclasses__() for s in subclasses(sub))]
