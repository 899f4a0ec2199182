"""Where Omniglot's drawings are, in zips or folders, and which split each belongs to."""

import contextlib
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from train.errors import BadInput
from train.images.hold_out import held_out_names

_LAYOUT = "images_*/ALPHABET/characterNN/NNNN_NN.png"
_EVALUATION = "images_evaluation"  # the benchmark's own, next to images_background*
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


class Drawing(NamedTuple):
  source: pathlib.Path  # a zip or a folder
  name: str  # path within it
  part: str  # images_background, images_evaluation, ...
  character: str  # ALPHABET/characterNN, the class

  @property
  def alphabet(self) -> str:
    return self.character.partition("/")[0]

  @property
  def file_name(self) -> str:
    return self.name.rpartition("/")[2]


class Listing(NamedTuple):
  path: pathlib.Path
  files: list[pathlib.Path]  # that are read: zips and extracted drawings
  splits: dict[str, list[Drawing]]  # split -> drawings, in order of character
  class_names: tuple[str, ...]


def list_drawings(path: pathlib.Path, *, eval_fraction: float, eval_alphabets: str) -> Listing:
  """Every drawing in a zip, in an extracted folder, or in all images_* that a folder holds.

  What is there as a zip and extracted is read from the zip, and a drawing that is in several zips
  (those named small are parts of images_background) is one drawing. Where images_evaluation is next
  to another part it is the split test; otherwise alphabets are held out as test: `eval_alphabets`,
  or else `eval_fraction` of them.

  Raises:
    BadInput: nothing there, a damaged zip, no drawings in it, or alphabets that can't be held out.
  """
  zips = [path] if path.is_file() else sorted(path.glob("images_*.zip"))
  drawings = [drawing for file in zips for drawing in _in_zip(file)]
  if path.is_dir():
    zipped = {drawing.part for drawing in drawings}
    drawings += [drawing for drawing in _in_folder(path) if drawing.part not in zipped]
  if not drawings:
    raise BadInput(f"{path}: no {_LAYOUT} in it, and no zip of that; give Omniglot's images")

  own = {drawing.alphabet for drawing in drawings if drawing.part == _EVALUATION}
  others = {drawing.alphabet for drawing in drawings if drawing.part != _EVALUATION}
  if own and others:
    if eval_alphabets:
      raise BadInput(
        f"data.eval_alphabets: {eval_alphabets!r}, but {path} has a set to evaluate on, "
        f"{_EVALUATION}; leave it empty, or give images_background alone as data.path"
      )
    if own & others:
      raise BadInput(
        f"{path}: {min(own & others)} is in {_EVALUATION} and in another part; keep it in one"
      )
    held_out = own
  else:
    held_out = _held_out(path, own | others, fraction=eval_fraction, named=eval_alphabets)

  unique = {}
  for drawing in sorted(drawings, key=lambda d: (d.character, d.file_name, d.part)):
    unique.setdefault((drawing.character, drawing.file_name), drawing)
  splits = {"train": [], "test": []}
  for drawing in unique.values():
    splits["test" if drawing.alphabet in held_out else "train"].append(drawing)
  used = {d.source / d.name for d in unique.values() if d.source not in zips}
  return Listing(
    path,
    [*zips, *sorted(used)],
    {split: found for split, found in splits.items() if found},
    tuple(sorted({drawing.character for drawing in drawings})),
  )


@contextlib.contextmanager
def reader(drawings: list[Drawing]) -> Iterator[Callable[[Drawing], bytes]]:
  """Gives a function that reads a drawing's file, from zips that stay open meanwhile.

  Raises:
    BadInput: a zip or a file can't be read; names it.
  """
  with contextlib.ExitStack() as stack:
    sources = sorted({drawing.source for drawing in drawings})
    zips = {file: stack.enter_context(_open(file)) for file in sources if file.is_file()}

    def read(drawing: Drawing) -> bytes:
      try:
        if drawing.source in zips:
          return zips[drawing.source].read(drawing.name)
        return (drawing.source / drawing.name).read_bytes()
      except _BROKEN as error:
        raise BadInput(
          f"{drawing.source / drawing.name}: can't be read ({error}); fetch the file again"
        ) from error

    yield read


def _held_out(path: pathlib.Path, alphabets: set[str], *, fraction: float, named: str) -> set[str]:
  names = {name.strip() for name in named.split(",")} - {""}
  listed = ", ".join(sorted(alphabets))
  if unknown := names - alphabets:
    raise BadInput(f"data.eval_alphabets: {path} has no {min(unknown)!r}; name some of {listed}")
  if names == alphabets or (fraction and len(alphabets) < 2):
    raise BadInput(
      f"{path}: its alphabets are {listed}, so none would be left to train on; name fewer in "
      "data.eval_alphabets, or set data.eval_fraction to 0 to hold out none"
    )
  return names or held_out_names(alphabets, fraction)


def _in_zip(file: pathlib.Path) -> list[Drawing]:
  with _open(file) as archive:
    found = [_drawing(file, name, outer=file.stem) for name in archive.namelist()]
  if not any(found):
    raise BadInput(f"{file}: no {_LAYOUT} in this zip; give one of Omniglot's images_*.zip")
  return [drawing for drawing in found if drawing]


def _in_folder(root: pathlib.Path) -> Iterator[Drawing]:
  """Drawings in root/ALPHABET/characterNN or in root/PART/ALPHABET/characterNN."""
  for folder, inner, files in os.walk(root, followlinks=True):
    relative = pathlib.Path(folder).relative_to(root)
    if len(relative.parts) == 3:
      inner.clear()
    for file in files:
      if drawing := _drawing(root, (relative / file).as_posix(), outer=root.resolve().name):
        yield drawing


def _drawing(source: pathlib.Path, name: str, *, outer: str) -> Drawing | None:
  """The drawing that a path is by its layout; None for others and for what file managers hide."""
  *above, alphabet, character, file = ("", "", "", *name.split("/"))
  hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
  if hidden or not alphabet or not re.fullmatch(r"character\d+", character):
    return None
  if not file.lower().endswith(".png"):
    return None
  return Drawing(source, name, above[-1] or outer, f"{alphabet}/{character}")


def _open(file: pathlib.Path) -> zipfile.ZipFile:
  try:
    return zipfile.ZipFile(file)
  except _BROKEN as error:
    raise BadInput(f"{file}: not a whole zip ({error}); fetch the file again") from error
