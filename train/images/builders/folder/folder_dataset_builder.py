"""Images in a folder, stored at the size and with the channels they are read with."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from train.data.fingerprint import fingerprint
from train.errors import BadInput
from train.images.builders.folder.listing import Listing, list_images
from train.images.files import fit, image_header, read_image
from train.images.sources import Folder


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  listing: Listing
  image_size: int | None
  tile: int
  tile_stride: int
  channels: int | None


class Builder(tfds.core.GeneratorBasedBuilder):
  """The folder's own splits, or train and test with a part held out."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    shape, names = _common_shape(self.builder_config), self.builder_config.listing.class_names
    label = {"label": tfds.features.ClassLabel(names=list(names))} if names else {}
    image = tfds.features.Image(shape=shape, encoding_format="png")
    features = tfds.features.FeaturesDict({"image": image, "file": tfds.features.Text(), **label})
    return self.dataset_info_from_configs(features=features)

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    splits = self.builder_config.listing.splits
    tile, stride = self.builder_config.tile, self.builder_config.tile_stride
    strides = {split: stride if split == "train" else tile for split in splits}
    return {
      split: self._generate_examples(examples, strides[split]) for split, examples in splits.items()
    }

  def _generate_examples(
    self, examples: list[tuple[pathlib.Path, int]], stride: int
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    height, width, channels = self.info.features["image"].shape
    names, tile = self.builder_config.listing.class_names, self.builder_config.tile
    for path, label in examples:
      image = fit(read_image(path), size=self.builder_config.image_size, channels=channels)
      file = path.relative_to(self.builder_config.listing.root).as_posix()
      file = file.encode(errors="backslashreplace").decode()
      example = {"file": file, **({"label": label} if names else {})}
      if tile:
        for top in range(0, image.height - tile + 1, stride):
          for left in range(0, image.width - tile + 1, stride):
            cut = image.crop((left, top, left + tile, top + tile))
            yield f"{file} {top} {left}", {"image": cut, **example}
      elif image.size != (width, height):
        raise BadInput(f"{path}: {image.size} pixels, its header promised {(width, height)}")
      else:
        yield file, {"image": image, **example}


def config(data: Folder) -> Config:
  """Lists the images under `data.path`.

  Raises:
    BadInput: the folder is missing, empty, or laid out in a way that can't be read.
  """
  root = pathlib.Path(data.path).expanduser()
  if not data.path or not root.is_dir():
    raise BadInput(f"data.path: no folder {data.path!r}; Folder reads images from it")
  listing = list_images(root, eval_fraction=data.eval_fraction, hold_out=data.hold_out)
  stored = (data.image_size, data.channels, data.eval_fraction, listing.class_names)
  if data.tile:
    stored += (data.tile, data.tile_stride or data.tile)
  if data.hold_out == "classes":
    stored += ("classes",)
  return Config(
    name=fingerprint(root, listing.files, options=stored),
    listing=listing,
    image_size=data.image_size,
    tile=data.tile,
    tile_stride=data.tile_stride or data.tile,
    channels=data.channels,
  )


def _common_shape(config: Config) -> tuple[int, int, int]:
  """(H, W, C) of the stored images, RGB if any of them is; looks at the headers of all files."""
  first: tuple[int, int] | None = None
  channels = 1
  for path in config.listing.files:
    height, width, found = image_header(path)
    if config.image_size is not None:
      height = width = config.image_size
    if config.tile:
      if min(height, width) < config.tile:
        raise BadInput(
          f"{path}: {height}x{width} pixels, smaller than data.tile ({config.tile}); make that less"
        )
      height = width = config.tile
    if (first or (height, width)) != (height, width):
      raise BadInput(
        f"{path}: {height}x{width} pixels, but {config.listing.files[0].name} "
        f"{first[0]}x{first[1]}; set data.image_size to bring all to one size"
      )
    first, channels = (height, width), max(channels, found)
  return *first, config.channels or channels
