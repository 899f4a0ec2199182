"""Folders of data: where datasets are kept, and files whose split and class their paths tell."""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from train.errors import BadInput

# What the folder of a split may be called, and the split's name in TFDS.
_SPLITS = {"train": "train", "test": "test"}
_SPLITS |= dict.fromkeys(("val", "valid", "validation"), "validation")
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")

Example = tuple[pathlib.Path, int]  # a file and its class


def data_dir(folder: str = "") -> pathlib.Path:
  """Where prepared datasets are kept: the folder, or TFDS' own default."""
  folder = folder or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return pathlib.Path(folder).expanduser()


def by_split(
  root: pathlib.Path,
  eval_fraction: float,
  *,
  what: str,
  hold_out: Literal["examples", "classes", "nothing"] = "examples",
) -> tuple[dict[str, list[Example]], list[str]]:
  """Every file that is not hidden, by split and with its class; and the names of the classes.

  Where all subfolders have names of splits, train among them, they are the splits; otherwise
  `eval_fraction` of the files, or of the classes, is held out as the split test. Within a split a
  subfolder is a class (its own subfolders belong to it); files directly in it are of no class.

  Raises:
    BadInput: no files, files both in a folder and in its subfolders, or classes that can't be held
      out.
  """
  folders, _ = _entries(root)
  own = {folder: _SPLITS[folder.name] for folder in folders if folder.name in _SPLITS}
  if len(own) == len(folders) and "train" in own.values():
    if len(set(own.values())) < len(own):
      raise BadInput(f"{root}: two subfolders for one split; keep one of val, valid, validation")
    by_class = {split: _by_class(folder, what) for folder, split in own.items()}
  else:
    by_class = {"train": _by_class(root, what)}

  names = sorted({name for classes in by_class.values() for name in classes} - {""})
  if names and any("" in classes for classes in by_class.values()):
    raise BadInput(f"{root}: one split has classes as subfolders and another none; use one layout")
  label = {name: i for i, name in enumerate(names)} | {"": 0}
  splits = {
    split: [(file, label[name]) for name in sorted(classes) for file in classes[name]]
    for split, classes in by_class.items()
  }
  if hold_out == "classes":
    if list(splits) != ["train"] or not names:
      found = f"has splits of its own ({', '.join(splits)})" if names else "has no subfolders"
      raise BadInput(f"data.hold_out: 'classes', but {root} {found}; set it to examples")
    unseen = held_out_names(names, eval_fraction)
    splits = _parted(splits["train"], [names[i] in unseen for _, i in splits["train"]])
  elif list(splits) == ["train"] and hold_out == "examples":
    splits = _hold_out(root, splits["train"], eval_fraction)
  return splits, names


def _hold_out(
  root: pathlib.Path, examples: list[Example], fraction: float
) -> dict[str, list[Example]]:
  """Splits off `fraction` as test, the same share of each class to within one example."""
  names = [path.relative_to(root).as_posix() for path, _ in examples]
  parts = _parted(examples, every_nth(names, [label for _, label in examples], fraction))
  return {split: sorted(part) for split, part in parts.items()}


def every_nth(names: Sequence[str], groups: Sequence[Any], fraction: float) -> list[bool]:
  """Which of the names are taken: `fraction` of each group, to within one name.

  Within a group the names are ordered by their hashes. Of the whole sequence, group after group,
  every 1/fraction-th is taken: systematic sampling, which is stratified by itself.
  """

  def position(i: int) -> tuple[Any, bytes]:
    return groups[i], hashlib.sha256(os.fsencode(names[i])).digest()

  taken = [False] * len(names)
  for place, i in enumerate(sorted(range(len(names)), key=position)):
    taken[i] = int(place * fraction + 0.5) < int((place + 1) * fraction + 0.5)
  return taken


def _parted(examples: list[Example], held_out: list[bool]) -> dict[str, list[Example]]:
  parts = {"train": [], "test": []}
  for example, out in zip(examples, held_out, strict=True):
    parts["test" if out else "train"].append(example)
  return {split: part for split, part in parts.items() if part}


def _by_class(root: pathlib.Path, what: str) -> dict[str, list[pathlib.Path]]:
  """Files by the name of the subfolder they are under; by "" where there are no subfolders."""
  folders, files = _entries(root)
  classes = {f.name: found for f in folders if (found := list(walk(f, root.resolve())))}
  if files and classes:
    raise BadInput(
      f"{root}: files directly in it ({files[0].name}, ...) and in subfolders "
      f"({min(classes)}, ...); give each of the {what} a class or none"
    )
  if not files and not classes:
    raise BadInput(f"{root}: no {what} in it; give a folder of {what} or of one subfolder a class")
  return classes or {"": files}


def walk(folder: pathlib.Path, *above: pathlib.Path) -> Iterator[pathlib.Path]:
  """Files under a folder in order, links followed, without hidden ones and those in `above`."""
  if (real := folder.resolve()) in above:  # a link leads back
    return
  folders, files = _entries(folder)
  yield from files
  for inner in folders:
    yield from walk(inner, *above, real)


def _entries(root: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
  """Subfolders and files of a folder, sorted by name, without what file managers hide there."""
  with os.scandir(root) as entries:  # which knows folders from files without asking of each
    seen = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _IGNORED]
  parts = ([], [])
  for entry in sorted(seen, key=lambda e: e.name):
    parts[not entry.is_dir()].append(root / entry.name)
  return parts


def held_out_names(names: Iterable[str], fraction: float) -> set[str]:
  """`fraction` of two names or more: rounded, but at least one, and at least one is left.

  The names whose SHA-256 is least: always the same ones, whatever their order, and few others when
  a name is added. None where `fraction` is 0.
  """
  ordered = sorted(set(names), key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
  count = int(len(ordered) * fraction + 0.5)
  return set(ordered[: min(max(count, 1), len(ordered) - 1)]) if fraction else set()
