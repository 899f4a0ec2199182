"""Which images a folder holds, and the split and class each belongs to, by their paths alone."""

import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

from train.errors import BadInput
from train.images.hold_out import held_out_names

# What the folder of a split may be called, and the split's name in TFDS.
SPLITS = {
  "train": "train",
  "val": "validation",
  "valid": "validation",
  "validation": "validation",
  "test": "test",
}
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")


class Listing(NamedTuple):
  root: pathlib.Path
  splits: dict[str, list[tuple[pathlib.Path, int]]]  # split -> (file, class), in order of path
  class_names: tuple[str, ...]  # empty where the images lie in no subfolders

  @property
  def files(self) -> list[pathlib.Path]:
    return [file for examples in self.splits.values() for file, _ in examples]


def list_images(
  root: pathlib.Path, *, eval_fraction: float, hold_out: Literal["examples", "classes"]
) -> Listing:
  """Every file that is not hidden, by split and class.

  Where all subfolders have names of splits, train among them, they are the splits; otherwise
  `eval_fraction` of the files, or of the classes, is held out as the split test. Within a split a
  subfolder is a class (its own subfolders belong to it); files directly in it are of no class.

  Raises:
    BadInput: no folder there, no files in it, files both in it and in its subfolders, or classes
      that can't be held out.
  """
  folders, _ = _entries(root)
  given = {folder: SPLITS[folder.name] for folder in folders if folder.name in SPLITS}
  if len(given) == len(folders) and "train" in given.values():
    if len(set(given.values())) < len(given):
      raise BadInput(f"{root}: two subfolders for one split; keep one of val, valid, validation")
    if loose := _entries(root)[1]:
      raise BadInput(f"{root}: {loose[0].name} lies next to the splits; move it into one of them")
    by_class = {split: _by_class(folder) for folder, split in given.items()}
  else:
    by_class = {"train": _by_class(root)}

  names = sorted({name for classes in by_class.values() for name in classes} - {""})
  if names and any("" in classes for classes in by_class.values()):
    raise BadInput(f"{root}: one split has classes as subfolders and another none; use one layout")
  label = {name: i for i, name in enumerate(names)} | {"": 0}
  splits = {
    split: [(file, label[name]) for name in sorted(classes) for file in classes[name]]
    for split, classes in by_class.items()
  }
  if hold_out == "classes":
    splits = _hold_out_classes(root, splits, names, eval_fraction)
  elif list(splits) == ["train"]:
    splits = _hold_out(root, splits["train"], eval_fraction)
  return Listing(root, splits, tuple(names))


def _hold_out(
  root: pathlib.Path, examples: list[tuple[pathlib.Path, int]], fraction: float
) -> dict[str, list[tuple[pathlib.Path, int]]]:
  """Splits off `fraction` as test, the same share of each class to within one example.

  Within a class the files are ordered by a hash of their paths. Of the whole sequence, class after
  class, every 1/fraction-th is taken: systematic sampling, which is stratified by itself.
  """

  def position(example: tuple[pathlib.Path, int]) -> tuple[int, bytes]:
    relative = example[0].relative_to(root).as_posix()
    return example[1], hashlib.sha256(os.fsencode(relative)).digest()

  splits = {"train": [], "test": []}
  for i, example in enumerate(sorted(examples, key=position)):
    held_out = int((i + 1) * fraction + 0.5) > int(i * fraction + 0.5)
    splits["test" if held_out else "train"].append(example)
  return {split: sorted(part) for split, part in splits.items() if part}


def _hold_out_classes(
  root: pathlib.Path,
  splits: dict[str, list[tuple[pathlib.Path, int]]],
  names: list[str],
  fraction: float,
) -> dict[str, list[tuple[pathlib.Path, int]]]:
  """Splits off `fraction` of the classes as test, whole."""
  if list(splits) != ["train"]:
    raise BadInput(
      f"data.hold_out: 'classes', but {root} has splits of its own ({', '.join(splits)}), whose "
      "classes are as they are; set it to examples"
    )
  if fraction and len(names) < 2:
    found = f"the subfolder {names[0]} alone" if names else "no subfolders"
    raise BadInput(
      f"data.hold_out: 'classes', but {root} has {found}; give two classes or more, or set it to "
      "examples"
    )
  held_out = held_out_names(names, fraction)
  parts = {"train": [], "test": []}
  for file, label in splits["train"]:
    parts["test" if names[label] in held_out else "train"].append((file, label))
  return {split: part for split, part in parts.items() if part}


def _by_class(root: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """Files by the name of the subfolder they are under; by "" where there are no subfolders."""
  folders, files = _entries(root)
  classes = {folder.name: list(_walk(folder, (root,))) for folder in folders}
  classes = {name: found for name, found in classes.items() if found}
  if files and classes:
    raise BadInput(
      f"{root}: files directly in it ({files[0].name}, ...) and in subfolders "
      f"({min(classes)}, ...); give every image a class or none"
    )
  if not files and not classes:
    raise BadInput(f"{root}: no images in it; give a folder of images or of one subfolder a class")
  return classes or {"": files}


def _walk(folder: pathlib.Path, above: tuple[pathlib.Path, ...]) -> Iterator[pathlib.Path]:
  """All files under `folder`, following links but not in circles."""
  if any(folder.samefile(parent) for parent in above):
    return
  folders, files = _entries(folder)
  yield from files
  for inner in folders:
    yield from _walk(inner, (*above, folder))


def _entries(root: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
  """Subfolders and files of a folder, sorted by name, without what file managers hide there."""
  try:
    entries = sorted(os.scandir(root), key=lambda entry: entry.name)
  except OSError as error:
    raise BadInput(f"{root}: can't be listed ({error.strerror}); give a folder") from error
  seen = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _IGNORED]
  folders = [root / entry.name for entry in seen if entry.is_dir()]
  return folders, [root / entry.name for entry in seen if not entry.is_dir()]
