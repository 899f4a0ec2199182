"""The lists that data sets of videos come with."""

import csv
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from train.data.folders import walk
from train.errors import BadInput
from train.video.sources import Entry, Listing

# A video among the files that have its name, such as its sound or subtitles.
_VIDEOS = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".npy")


def lines_of(path: pathlib.Path) -> list[tuple[str, str]]:
  """Lines of a text file that are not empty, each with what a message calls it.

  Raises:
    BadInput: there are none, or it can't be read.
  """
  lines = [(f"{path}: line {i}", x.strip()) for i, x in enumerate(_text(path).splitlines(), 1)]
  if not any(line for _, line in lines):
    raise BadInput(f"{path}: empty; it should list videos or classes, one a line")
  return [(where, line) for where, line in lines if line]


def numbered(path: pathlib.Path, root: pathlib.Path) -> list[Entry]:
  """Of lines `PATH LABEL`, or all of them `PATH FRAMES LABEL`; paths may have spaces.

  Frames are counted anew.
  """
  found = []
  for where, line in lines_of(path):
    name, *label = line.rsplit(maxsplit=1)
    if not label or not label[0].isdecimal():
      raise BadInput(f"{where} is {line!r}; it should be PATH LABEL, the label a number")
    found.append((name, int(label[0])))
  parts = [name.rsplit(maxsplit=1) for name, _ in found]
  with_frames = all(len(words) == 2 and words[1].isdecimal() for words in parts)
  if with_frames and not (root / found[0][0]).exists():  # else their names end in numbers
    found = [(words[0], label) for words, (_, label) in zip(parts, found, strict=True)]
  return [Entry(root / name, label) for name, label in found]


def ucf101(root: pathlib.Path, lists: pathlib.Path, split: int) -> Listing:
  """Of classInd.txt (`NUMBER CLASS`), trainlistNN.txt (`PATH NUMBER`), testlistNN.txt (`PATH`)."""
  classes = []
  for where, line in lines_of(lists / "classInd.txt"):
    number, *name = line.split(maxsplit=1)
    if not name or not number.isdecimal():
      raise BadInput(f"{where} is {line!r}; it should be NUMBER CLASS, as '1 ApplyEyeMakeup'")
    classes.append((int(number), name[0]))
  names = [name for _, name in sorted(classes)]

  def entries(kind: str) -> list[Entry]:
    lines = lines_of(lists / f"{kind}list{split:02}.txt")
    if kind == "train":
      lines = [(where, line.rsplit(maxsplit=1)[0]) for where, line in lines]
    labels = _labels(names, ((where, line.split("/")[0]) for where, line in lines))
    return [Entry(root / name, label) for (_, name), label in zip(lines, labels, strict=True)]

  return Listing(root, {"train": entries("train"), "test": entries("test")}, names)


def hmdb51(root: pathlib.Path, lists: pathlib.Path, split: int) -> Listing:
  """Of CLASS_test_splitN.txt: `NAME 1` to train on, `NAME 2` to test on, `NAME 0` neither."""
  ending = f"_test_split{split}.txt"
  files = sorted(lists.glob(f"*{ending}"))
  if not files:
    raise BadInput(f"data.lists: no files *{ending} in {lists}")
  names = [path.name.removesuffix(ending) for path in files]
  parts = {"0": [], "1": [], "2": []}
  for label, path in enumerate(files):
    for where, line in lines_of(path):
      name, *part = line.rsplit(maxsplit=1)
      if not part or part[0] not in parts:
        raise BadInput(f"{where} is {line!r}; it should be NAME and 0, 1 or 2")
      parts[part[0]].append(Entry(root / names[label] / name, label))
  return Listing(root, {"train": parts["1"], "test": parts["2"]}, names)


def kinetics(root: pathlib.Path, train_csv: pathlib.Path, eval_csv: pathlib.Path) -> Listing:
  """Of csv files with a header: label, youtube_id, time_start, time_end."""
  tables = {"train": _table(train_csv), "validation": _table(eval_csv)}
  names, there = sorted({label for _, label, *_ in tables["train"]}), _by_stem(root)

  def path(name: str, start: int, end: int) -> pathlib.Path:
    stems = (f"{name}_{start:06}_{end:06}", name)
    return next((there[stem] for stem in stems if stem in there), root / f"{stems[0]}.mp4")

  splits = {}
  for split, rows in tables.items():
    labels = _labels(names, ((where, label) for where, label, *_ in rows))
    splits[split] = [Entry(path(*r[2:]), label) for r, label in zip(rows, labels, strict=True)]
  return Listing(root, splits, names)


def something(
  root: pathlib.Path,
  train_json: pathlib.Path,
  eval_json: pathlib.Path,
  labels_json: pathlib.Path,
) -> Listing:
  """Of lists of {"id", "template"}, and {template: "NUMBER"}, templates without brackets there."""
  numbers = _json(labels_json)
  try:
    names = sorted(numbers, key=lambda name: int(numbers[name]))
  except (TypeError, ValueError, LookupError):
    raise BadInput(f'{labels_json}: it should be {{"TEMPLATE": "NUMBER", ...}}') from None
  there = _by_stem(root)

  def entries(path: pathlib.Path) -> list[Entry]:
    try:
      rows = [(str(row["id"]), row["template"].translate(_NO_BRACKETS)) for row in _json(path)]
    except (KeyError, TypeError, AttributeError):
      raise BadInput(f'{path}: it should be [{{"id": ..., "template": ...}}, ...]') from None
    labels = _labels(names, ((f"{path}: video {name}", of) for name, of in rows))
    files = (there.get(name, root / f"{name}.webm") for name, _ in rows)
    return [Entry(file, label) for file, label in zip(files, labels, strict=True)]

  return Listing(root, {"train": entries(train_json), "validation": entries(eval_json)}, names)


_NO_BRACKETS = str.maketrans("", "", "[]")


def _labels(names: list[str], rows: Iterable[tuple[str, str]]) -> list[int]:
  """Numbers of the classes of rows, each with what a message calls it."""
  label, found = {name: i for i, name in enumerate(names)}, []
  for where, name in rows:
    if name not in label:
      raise BadInput(f"{where}: the class {name!r} is none of the {len(names)} that are known")
    found.append(label[name])
  return found


def _by_stem(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """Videos under a folder by their names without endings; of several the last."""
  return {path.stem: path for path in walk(root) if path.suffix.lower() in _VIDEOS}


def _table(path: pathlib.Path) -> list[tuple[str, str, str, int, int]]:
  """What a message calls a row, its label, id, start and end."""
  reader = csv.DictReader(_text(path).splitlines())
  wanted, rows = ("label", "youtube_id", "time_start", "time_end"), []
  try:
    table = [(f"{path}: line {reader.line_num}", row) for row in reader]
  except csv.Error as error:
    raise BadInput(f"{path}: line {reader.line_num}: {error}") from None
  if not set(wanted) <= set(reader.fieldnames or ()):
    raise BadInput(f"{path}: the first line should name the columns {', '.join(wanted)}")
  for where, row in table:
    label, name, start, end = map(row.get, wanted)
    try:
      seconds = int(float(start)), int(float(end))
    except (TypeError, ValueError, OverflowError):
      raise BadInput(f"{where}: from {start} to {end}; it should be seconds") from None
    if not label or not name:
      raise BadInput(f"{where}: a label and a youtube_id are needed")
    rows.append((where, label, name, *seconds))
  if not rows:
    raise BadInput(f"{path}: a header alone; it should list videos, one a line")
  return rows


def _json(path: pathlib.Path) -> Any:
  try:
    return json.loads(_text(path))
  except ValueError as error:
    raise BadInput(f"{path}: not JSON ({error})") from None


def _text(path: pathlib.Path) -> str:
  try:
    return path.read_text(encoding="utf-8-sig")
  except (OSError, UnicodeDecodeError) as error:
    reason = getattr(error, "strerror", None) or "not text in UTF-8"
    raise BadInput(f"{path}: can't be read ({reason})") from None
