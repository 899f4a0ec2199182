"""What the paths of sounds say: which files are sounds, of which speaker and of which label."""

import pathlib
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from train.data.folders import walk
from train.errors import BadInput

ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc")
_KNOWN = ("speaker", "label")


class Entry(NamedTuple):
  """An utterance that is listed."""

  path: pathlib.Path
  speaker: str = ""  # "": not known
  label: str = ""  # "": none


def sounds_under(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files with an ending of sounds, in order, without hidden ones; other files are no matter.

  Raises:
    BadInput: there are none.
  """
  found = [path for path in walk(folder) if path.suffix.lower() in ENDINGS]
  if not found:
    raise BadInput(f"{folder}: no sounds in it; give a folder of files {', '.join(ENDINGS)}")
  return found


def by_pattern(root: pathlib.Path, paths: Iterable[pathlib.Path], pattern: str) -> list[Entry]:
  """Speakers and labels as a pattern such as "{speaker}/{label}_{take}" tells them.

  The path relative to the root, without its ending, must match as a whole. A placeholder stands for
  one character or more but no "/", from the left for as few as possible; a known one that is there
  twice for the same ones; others, of any name, for what does not matter.

  Raises:
    BadInput: the pattern has neither {speaker} nor {label}, or a path does not match.
  """
  paths, seen, expression = list(paths), set(), ""
  for i, part in enumerate(re.split(r"\{(\w*)\}", pattern)):
    if i % 2 == 0:
      expression += re.escape(part)
    elif part in _KNOWN:
      expression += f"(?P={part})" if part in seen else f"(?P<{part}>[^/]+?)"
      seen.add(part)
    else:
      expression += "[^/]+?"
  names = [path.relative_to(root).with_suffix("").as_posix() for path in paths]
  if not seen:
    raise BadInput(
      f"data.pattern: {pattern!r} has neither {{speaker}} nor {{label}}; say where they are in "
      f"{names[0]!r}"
    )
  found = [re.fullmatch(expression, name, re.DOTALL) for name in names]
  if None in found:
    raise BadInput(
      f"data.pattern: {pattern!r} does not match {names[found.index(None)]!r} "
      f"({found.count(None)} of {len(names)} such); give one that matches all"
    )
  return [Entry(p, **m.groupdict()) for p, m in zip(paths, found, strict=True)]


def by_subfolder(
  root: pathlib.Path, paths: Iterable[pathlib.Path], what: Literal["speaker", "label"]
) -> list[Entry]:
  """Each subfolder of the root is a speaker or a label, "" where there are none.

  Raises:
    BadInput: there are sounds both in subfolders and beside them.
  """
  parts = {path: path.relative_to(root).parts for path in paths}
  entries = [Entry(p, **{what: names[0] if len(names) > 1 else ""}) for p, names in parts.items()]
  beside = [path for path, names in parts.items() if len(names) == 1]
  if beside and len(beside) < len(parts):
    raise BadInput(
      f"{root}: sounds directly in it ({beside[0].name}, ...) and in subfolders; give each of them "
      f"a {what} or none, or set data.pattern"
    )
  return entries
