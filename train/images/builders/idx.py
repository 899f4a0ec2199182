"""Images and labels in MNIST's idx format: two files a split, plain or gzipped.

An idx file is big-endian: the bytes 0, 0, type (8: uint8), number of dimensions; then each
dimension as a 32-bit integer; then the elements, the last dimension fastest.
"""

import dataclasses
import gzip
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from train.data.fingerprint import Contents
from train.data.folders import data_dir
from train.errors import BadInput
from train.images.sources import Idx

FILES = {
  "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
  "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  contents: Contents
  files: dict[str, tuple[pathlib.Path, pathlib.Path]]


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """The splits train and test, with as many classes as the largest label asks for."""

  name = "idx"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    self._splits = {s: _read_pair(*files) for s, files in self.builder_config.files.items()}
    num_classes = 1 + max(int(labels.max()) for _, labels in self._splits.values())
    shape = (*self._splits["train"][0].shape[1:], 1)
    for split, (images, _) in self._splits.items():
      if images.shape[1:] != shape[:2]:
        raise BadInput(f"{split} images are {images.shape[1:]}, those of train {shape[:2]} pixels")
    features = tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=shape, encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=num_classes),
      }
    )
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    return {split: self._generate_examples(*pair) for split, pair in self._splits.items()}

  def _generate_examples(
    self, images: np.ndarray, labels: np.ndarray
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
      yield i, {"image": Image.fromarray(image), "label": int(label)}


def config(data: Idx) -> Config:
  """Finds the four files in `data.path`.

  Raises:
    BadInput: the folder or one of the files is missing.
  """
  root = pathlib.Path(data.path).expanduser()
  if not data.path or not root.is_dir():
    raise BadInput(f"data.path: no folder {data.path!r}; Idx reads MNIST's four files from it")
  files = {split: tuple(_find(root, name) for name in names) for split, names in FILES.items()}
  listed = [file for pair in files.values() for file in pair]
  contents = Contents(root, listed, data_dir(data.dir))
  return Config(name=contents.name(), contents=contents, files=files)


def read_idx(path: pathlib.Path, *, dims: int) -> np.ndarray:
  """uint8 array of `dims` dimensions in an idx file, gunzipped where its name ends in .gz.

  Raises:
    BadInput: not such a file, or its size is not what its header says; names it.
  """
  try:
    content = path.read_bytes()
    if path.suffix == ".gz":
      content = gzip.decompress(content)
  except (OSError, EOFError, zlib.error) as error:
    raise BadInput(f"{path}: can't be read ({error}); fetch the file again") from error
  header, magic = 4 + 4 * dims, bytes((0, 0, 8, dims))
  if content[:4] != magic or len(content) < header:
    raise BadInput(
      f"{path}: {len(content)} bytes from {content[:4].hex(' ')} on; an idx file has at least "
      f"{header} from {magic.hex(' ')} on"
    )
  shape = np.frombuffer(content[4:header], ">u4").tolist()
  if len(content) - header != np.prod(shape):
    raise BadInput(
      f"{path}: {len(content) - header} bytes after the header, which promises "
      f"{'x'.join(map(str, shape))} = {np.prod(shape)}; fetch the file again"
    )
  return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_pair(images: pathlib.Path, labels: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  pair = read_idx(images, dims=3), read_idx(labels, dims=1)
  if len(pair[0]) != len(pair[1]):
    raise BadInput(f"{labels}: {len(pair[1])} labels for {len(pair[0])} images in {images.name}")
  return pair


def _find(root: pathlib.Path, name: str) -> pathlib.Path:
  for path in (root / f"{name}.gz", root / name):
    if path.is_file():
      return path
  raise BadInput(f"{root}: no file {name}[.gz]; Idx needs MNIST's four files by these names")
