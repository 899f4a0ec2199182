"""Images in a folder, stored at the size and with the channels they are read with.

The split and the class of an image are told by its path alone.
"""

import dataclasses
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from train.data.fingerprint import Contents
from train.data.prepare import data_dir
from train.errors import BadInput
from train.images.files import fit, image_header, read_image
from train.images.hold_out import held_out_names
from train.images.sources import Folder

# What the folder of a split may be called, and the split's name in TFDS.
_SPLITS = {"train": "train", "test": "test"}
_SPLITS |= dict.fromkeys(("val", "valid", "validation"), "validation")
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")

Example = tuple[pathlib.Path, int]  # a file and its class


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
  splits, names = list_images(root, data)
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


def list_images(root: pathlib.Path, source: Folder) -> tuple[dict[str, list[Example]], list[str]]:
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
    by_class = {split: _by_class(folder) for folder, split in own.items()}
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
  if source.hold_out == "classes":
    if list(splits) != ["train"] or not names:
      found = f"has splits of its own ({', '.join(splits)})" if names else "has no subfolders"
      raise BadInput(f"data.hold_out: 'classes', but {root} {found}; set it to examples")
    unseen = held_out_names(names, source.eval_fraction)
    splits = _parted(splits["train"], [names[i] in unseen for _, i in splits["train"]])
  elif list(splits) == ["train"]:
    splits = _hold_out(root, splits["train"], source.eval_fraction)
  return splits, names


def _hold_out(
  root: pathlib.Path, examples: list[Example], fraction: float
) -> dict[str, list[Example]]:
  """Splits off `fraction` as test, the same share of each class to within one example.

  Within a class the files are ordered by a hash of their paths. Of the whole sequence, class after
  class, every 1/fraction-th is taken: systematic sampling, which is stratified by itself.
  """

  def position(example: Example) -> tuple[int, bytes]:
    relative = example[0].relative_to(root).as_posix()
    return example[1], hashlib.sha256(os.fsencode(relative)).digest()

  ordered = sorted(examples, key=position)
  taken = [int(i * fraction + 0.5) for i in range(len(ordered) + 1)]
  parts = _parted(ordered, [a < b for a, b in itertools.pairwise(taken)])
  return {split: sorted(part) for split, part in parts.items()}


def _parted(examples: list[Example], held_out: list[bool]) -> dict[str, list[Example]]:
  parts = {"train": [], "test": []}
  for example, out in zip(examples, held_out, strict=True):
    parts["test" if out else "train"].append(example)
  return {split: part for split, part in parts.items() if part}


def _by_class(root: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """Files by the name of the subfolder they are under; by "" where there are no subfolders."""
  folders, files = _entries(root)
  classes = {f.name: found for f in folders if (found := list(_walk(f, root.resolve())))}
  if files and classes:
    raise BadInput(
      f"{root}: files directly in it ({files[0].name}, ...) and in subfolders "
      f"({min(classes)}, ...); give every image a class or none"
    )
  if not files and not classes:
    raise BadInput(f"{root}: no images in it; give a folder of images or of one subfolder a class")
  return classes or {"": files}


def _walk(folder: pathlib.Path, *above: pathlib.Path) -> Iterator[pathlib.Path]:
  if (real := folder.resolve()) in above:  # a link leads back
    return
  folders, files = _entries(folder)
  yield from files
  for inner in folders:
    yield from _walk(inner, *above, real)


def _entries(root: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
  """Subfolders and files of a folder, sorted by name, without what file managers hide there."""
  with os.scandir(root) as entries:  # which knows folders from files without asking of each
    seen = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _IGNORED]
  parts = ([], [])
  for entry in sorted(seen, key=lambda e: e.name):
    parts[not entry.is_dir()].append(root / entry.name)
  return parts
