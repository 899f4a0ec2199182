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
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image, ImageOps

from train.data.fingerprint import fingerprint
from train.errors import BadInput
from train.images.builders.omniglot.listing import Drawing, Listing, list_drawings, reader
from train.images.files import fit, read_image
from train.images.sources import Omniglot


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  listing: Listing
  image_size: int | None


class Builder(tfds.core.GeneratorBasedBuilder):
  """Splits train and test, which have no alphabet in common."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    listing, size = self.builder_config.listing, self.builder_config.image_size
    first = listing.splits["train"][:1]
    with reader(first) as read:
      width, height = _image(first[0], read(first[0]), size=size).size
    features = tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=(height, width, 1), encoding_format="png"),
        "file": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=list(listing.class_names)),
      }
    )
    return self.dataset_info_from_configs(features=features, supervised_keys=("image", "label"))

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    splits = self.builder_config.listing.splits
    return {split: self._generate_examples(drawings) for split, drawings in splits.items()}

  def _generate_examples(self, drawings: list[Drawing]) -> Iterator[tuple[str, dict[str, Any]]]:
    height, width, _ = self.info.features["image"].shape
    with reader(drawings) as read:
      for drawing in drawings:
        image = _image(drawing, read(drawing), size=self.builder_config.image_size)
        if image.size != (width, height):
          raise BadInput(
            f"{drawing.source / drawing.name}: {image.height}x{image.width} pixels, the first "
            f"{height}x{width}; set data.image_size to bring all to one size"
          )
        file = f"{drawing.part}/{drawing.character}/{drawing.file_name}"
        yield file, {"image": image, "file": file, "label": drawing.character}


def config(data: Omniglot) -> Config:
  """Lists the drawings at `data.path`.

  Raises:
    BadInput: nothing there that is Omniglot, or alphabets that can't be held out.
  """
  path = pathlib.Path(data.path).expanduser()
  if not data.path or not path.exists():
    raise BadInput(
      f"data.path: no file or folder {data.path!r}; Omniglot reads Omniglot's images_*.zip, "
      "or the folder that has them"
    )
  listing = list_drawings(
    path, eval_fraction=data.eval_fraction, eval_alphabets=data.eval_alphabets
  )
  held_out = sorted({drawing.alphabet for drawing in listing.splits.get("test", [])})
  name = fingerprint(path, listing.files, options=(data.image_size, *held_out))
  return Config(name=name, listing=listing, image_size=data.image_size)


def _image(drawing: Drawing, content: bytes, *, size: int | None) -> Image.Image:
  grey = read_image(drawing.source / drawing.name, content=content).convert("L")
  return fit(ImageOps.invert(grey), size=size, channels=1)
