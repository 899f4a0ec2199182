"""Images in a folder, stored at the size and with the channels they are read with.

The split and the class of an image are told by its path alone.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from train.data.fingerprint import Contents
from train.data.folders import Example, by_split, data_dir
from train.errors import BadInput
from train.images.files import fit, image_header, read_image
from train.images.sources import Folder


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  contents: Contents
  source: Folder
  root: pathlib.Path
  files: list[pathlib.Path]
  splits: dict[str, list[Example]]  # in order of path
  class_names: list[str]  # empty where the images lie in no subfolders


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """The folder's own splits, or train and test with a part held out."""

  name = "folder"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    names = self.builder_config.class_names
    label = {"label": tfds.features.ClassLabel(names=names)} if names else {}
    image = tfds.features.Image(shape=_common_shape(self.builder_config), encoding_format="png")
    features = tfds.features.FeaturesDict({"image": image, "file": tfds.features.Text(), **label})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    source, splits = self.builder_config.source, self.builder_config.splits
    strides = {"train": source.tile_stride or source.tile}
    return {
      split: self._generate_examples(examples, strides.get(split, source.tile))
      for split, examples in splits.items()
    }

  def _generate_examples(
    self, examples: list[Example], stride: int
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    config, channels = self.builder_config, self.info.features["image"].shape[2]
    tile = config.source.tile
    for path, label in examples:
      image = fit(read_image(path), size=config.source.image_size, channels=channels)
      file = path.relative_to(config.root).as_posix()
      file = file.encode(errors="backslashreplace").decode()  # names need not be UTF-8
      example = {"file": file, **({"label": label} if config.class_names else {})}
      if not tile:
        yield file, {"image": image, **example}
        continue
      for top in range(0, image.height - tile + 1, stride):
        for left in range(0, image.width - tile + 1, stride):
          cut = image.crop((left, top, left + tile, top + tile))
          yield f"{file} {top} {left}", {"image": cut, **example}


def config(data: Folder) -> Config:
  """Lists the images under `data.path`.

  Raises:
    BadInput: the folder is missing, empty, or laid out in a way that can't be read.
  """
  root = pathlib.Path(data.path).expanduser()
  if not data.path or not root.is_dir():
    raise BadInput(f"data.path: no folder {data.path!r}; Folder reads images from it")
  splits, names = by_split(root, data.eval_fraction, what="images", hold_out=data.hold_out)
  stored = (data.image_size, data.channels, data.eval_fraction, tuple(names))
  if data.tile:
    stored += (data.tile, data.tile_stride or data.tile)
  if data.hold_out == "classes":
    stored += ("classes",)
  files = [file for examples in splits.values() for file, _ in examples]
  contents = Contents(root, files, data_dir(data.dir))
  return Config(
    name=contents.name(stored),
    contents=contents,
    source=data,
    root=root,
    files=files,
    splits=splits,
    class_names=names,
  )


def _common_shape(config: Config) -> tuple[int, int, int]:
  """(H, W, C) of the stored images, RGB if any of them is; looks at the headers of all files."""
  size, tile, first, channels = config.source.image_size, config.source.tile, None, 1
  for path in config.files:
    height, width, found = image_header(path)
    if size:
      height = width = size
    if tile and min(height, width) < tile:
      raise BadInput(
        f"{path}: {height}x{width} pixels, smaller than data.tile ({tile}); make that less"
      )
    shape = (tile, tile) if tile else (height, width)
    first, channels = first or shape, max(channels, found)
    if shape != first:
      raise BadInput(
        f"{path}: {height}x{width} pixels, but {config.files[0].name} {first[0]}x{first[1]}; set "
        "data.image_size to bring all to one size"
      )
  return *first, config.source.channels or channels
