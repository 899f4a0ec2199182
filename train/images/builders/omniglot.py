"""Omniglot: 105x105 drawings of characters, 20 people each, a class a character.

Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program
induction, Science 2015. The drawings are distributed in zips, one bit a pixel and black on white;
here they are greyscale with bright ink on a dark ground, ink 255 and the ground 0, so that ink is
what is there (and grey where `image_size` made a drawing smaller, antialiased).

A held-out alphabet's characters are classes, but none of them occurs in training: evaluation is of
characters never seen.
"""

import dataclasses
import pathlib
import re
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from PIL import Image, ImageOps

from train.data.fingerprint import Contents
from train.data.folders import data_dir, held_out_names
from train.errors import BadInput
from train.images.files import fit, read_image
from train.images.sources import Omniglot

_LAYOUT = "images_*/ALPHABET/characterNN/NNNN_NN.png"
_BACKGROUND = "images_background"
_EVALUATION = "images_evaluation"  # the benchmark's own, next to images_background*


class Drawing(NamedTuple):
  file: pathlib.Path | zipfile.Path
  part: str  # images_background, images_evaluation, ...
  alphabet: str
  character: str  # ALPHABET/characterNN, the class


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  contents: Contents
  image_size: int | None
  splits: dict[str, list[Drawing]]  # in order of character
  class_names: list[str]


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Splits train and test, which have no alphabet in common."""

  name = "omniglot"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    width, height = self._image(self.builder_config.splits["train"][0]).size
    features = tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=(height, width, 1), encoding_format="png"),
        "file": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=self.builder_config.class_names),
      }
    )
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    splits = self.builder_config.splits
    return {split: self._generate_examples(drawings) for split, drawings in splits.items()}

  def _generate_examples(self, drawings: list[Drawing]) -> Iterator[tuple[str, dict[str, Any]]]:
    for drawing in drawings:
      file = f"{drawing.part}/{drawing.character}/{drawing.file.name}"
      yield file, {"image": self._image(drawing), "file": file, "label": drawing.character}

  def _image(self, drawing: Drawing) -> Image.Image:
    inverted = ImageOps.invert(read_image(drawing.file).convert("L"))
    return fit(inverted, size=self.builder_config.image_size, channels=1)


def config(data: Omniglot) -> Config:
  """Lists the drawings at `data.path`: in a zip, or in a folder's zips and in its own folders.

  A drawing that is in several zips (those named small are parts of images_background) is one
  drawing. Held out as test are `eval_alphabets`; or else what is in images_evaluation, where that
  is next to another part; or else `eval_fraction` of the alphabets.

  Raises:
    BadInput: nothing there that is Omniglot, a damaged zip, or alphabets that can't be held out.
  """
  path = pathlib.Path(data.path).expanduser()
  if not data.path or not path.exists():
    raise BadInput(
      f"data.path: no file or folder {data.path!r}; Omniglot reads Omniglot's images_*.zip, "
      "or the folder that has them"
    )
  zips = [path] if path.is_file() else sorted(path.glob("images_*.zip"))
  drawings = [d for file in zips for d in _in_zip(file)]
  zipped = {drawing.part for drawing in drawings}
  drawings += [d for d in _in_folder(path) if d.part not in zipped]
  if not drawings:
    raise BadInput(f"{path}: no {_LAYOUT} in it, and no zip of that; give Omniglot's images")
  unique = {}
  for drawing in sorted(drawings, key=lambda d: (d.character, d.file.name, d.part)):
    unique.setdefault((drawing.character, drawing.file.name), drawing)

  held_out = _held_out(path, drawings, data)
  splits = {"train": [], "test": []}
  for drawing in unique.values():
    splits["test" if drawing.alphabet in held_out else "train"].append(drawing)
  extracted = sorted(d.file for d in unique.values() if isinstance(d.file, pathlib.Path))
  root = path.parent if path.is_file() else path  # a zip is known by its name, as in a folder
  contents = Contents(root, [*zips, *extracted], data_dir(data.dir))
  return Config(
    name=contents.name((data.image_size, *sorted(held_out))),
    contents=contents,
    image_size=data.image_size,
    splits={split: found for split, found in splits.items() if found},
    class_names=sorted({drawing.character for drawing in drawings}),
  )


def _held_out(path: pathlib.Path, drawings: list[Drawing], data: Omniglot) -> set[str]:
  alphabets = {drawing.alphabet for drawing in drawings}
  named = {name.strip() for name in data.eval_alphabets.split(",")} - {""}
  listed = ", ".join(sorted(alphabets))
  if unknown := named - alphabets:
    raise BadInput(f"data.eval_alphabets: {path} has no {min(unknown)!r}; name some of {listed}")
  if named == alphabets:
    raise BadInput(
      f"data.eval_alphabets: {path} has {listed}, so none would be left to train on; name fewer"
    )
  own = {drawing.alphabet for drawing in drawings if drawing.part == _EVALUATION}
  return named or (alphabets - own and own) or held_out_names(alphabets, data.eval_fraction)


def _in_zip(path: pathlib.Path) -> Iterator[Drawing]:
  try:
    archive = zipfile.ZipFile(path)
  except (zipfile.BadZipFile, OSError) as error:
    raise BadInput(f"{path}: not a whole zip ({error}); fetch the file again") from error
  for name in archive.namelist():
    yield from _drawing(zipfile.Path(archive, name), name, outer=path.stem)


def _in_folder(root: pathlib.Path) -> Iterator[Drawing]:
  """Drawings in root/ALPHABET/characterNN or in root/PART/ALPHABET/characterNN.

  Those of no part count as images_background's, whatever the root is called: a part is in the key
  of an example, which decides its place in the data's order.
  """
  for above in ("*", "*/*"):
    for file in root.glob(f"{above}/character*/*"):
      yield from _drawing(file, file.relative_to(root).as_posix(), outer=_BACKGROUND)


def _drawing(file: pathlib.Path | zipfile.Path, name: str, *, outer: str) -> Iterator[Drawing]:
  """The drawing that a path is by its layout; none for others and for what file managers hide."""
  *above, alphabet, character, last = ("", "", "", *name.split("/"))
  hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
  if (
    alphabet
    and re.fullmatch(r"character\d+", character)
    and last.lower().endswith(".png")
    and not hidden
  ):
    yield Drawing(file, above[-1] or outer, alphabet, f"{alphabet}/{character}")
