"""A split of a prepared dataset: images of one shape and labels, by index."""

import io
import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from train.data.examples import Examples
from train.errors import BadInput
from train.images.files import fit, to_array
from train.images.sources import Images

_CACHE_BYTES = 2**30
_CHUNK = 512  # examples read at once while the cache is filled
# Decoding a smaller image is mostly Python, in which threads are only in each other's way.
_BYTES_WORTH_A_THREAD = 2**14
_PIXELS = 2**26  # values from which the variance of the data is estimated


class ImageSplit(Examples):
  """Examples {"image": uint8[H, W, C], "label": int32[]} of a split.

  Images are of the size and have the channels that the source asks for; labels are 0 where there
  are none.
  """

  image_shape: tuple[int, int, int]  # H, W, C
  num_classes: int  # 0 where there are no labels
  class_names: tuple[str, ...]  # empty where there are no labels

  def __init__(
    self, name: str, records: Sequence[Any], features: dict[str, Any], *, source: Images
  ):
    """`records` are TFDS' examples, images not yet decoded; `open_splits` puts them together."""
    self.name, self._records, self._source = name, records, source
    depth = features["image"].shape[-1]
    self._channels = source.channels or (1 if depth == 1 else 3)
    label = features.get("label")
    self._labelled = isinstance(label, tfds.features.ClassLabel)
    self.class_names = tuple(label.names) if self._labelled and label.num_classes else ()
    self.num_classes = len(self.class_names)
    self._cache: tuple[np.ndarray, np.ndarray] | None = None
    self.image_shape = self._image(records[0]["image"]).shape
    size = len(self) * int(np.prod(self.image_shape))
    if source.cache or (source.cache is None and size <= _CACHE_BYTES):
      self._cache = self._read_all()
    # Batches from memory are one copy each.
    self.num_threads = min(source.num_threads, 1) if self._cache else source.num_threads
    self.prefetch = source.prefetch

  def __len__(self) -> int:
    return len(self._records)

  def read(self, indices: np.ndarray, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """{"image": uint8[N, H, W, C], "label": int32[N]} of the examples at N indices, each 0..len-1.

    Raises:
      BadInput: an image is not of the split's shape.
    """
    if self._cache is not None:
      images, labels = self._cache
      return {"image": images[indices], "label": labels[indices]}
    records = self._records.__getitems__(np.asarray(indices).tolist())
    images = np.empty((len(records), *self.image_shape), np.uint8)
    labels = np.zeros(len(records), np.int32)
    for row, record in enumerate(records):
      image = self._image(record["image"])
      if image.shape != self.image_shape:
        raise BadInput(
          f"{self.name}: example {indices[row]} is {_by(image.shape)}, the first "
          f"{_by(self.image_shape)}; set data.image_size to bring all to one size"
        )
      images[row] = image
      if self._labelled:
        labels[row] = record["label"]
    return {"image": images, "label": labels}

  def variance(self) -> float:
    """Of the first images' pixels, in [0, 1]: of at most 1,024, of fewer where they are large."""
    count = min(len(self), max(16, min(1024, _PIXELS // int(np.prod(self.image_shape)))))
    images = self.read(np.arange(count))["image"]
    mean = int(images.sum()) / images.size  # of whole numbers: exact
    squares = int(np.square(images, dtype=np.uint16).sum())
    return max((squares / images.size - mean**2) / 255**2, 1e-6)

  def labels(self) -> np.ndarray:
    """int32[len] of all examples, 0 where there are none; decodes no image."""
    if self._cache is not None:
      return self._cache[1].copy()
    labels = np.zeros(len(self), np.int32)
    for chunk in self._chunks() if self._labelled else ():
      labels[chunk] = [example["label"] for example in self._records.__getitems__(chunk.tolist())]
    return labels

  def _chunks(self) -> list[np.ndarray]:
    return np.split(np.arange(len(self)), range(_CHUNK, len(self), _CHUNK))

  def _image(self, stored: bytes | np.ndarray) -> np.ndarray:
    """uint8[H, W, C] of an encoded image, or of an array where the dataset stores those."""
    if isinstance(stored, bytes):
      image = Image.open(io.BytesIO(stored), formats=("PNG", "JPEG", "BMP", "GIF"))
    else:
      image = Image.fromarray(stored[..., 0] if stored.shape[-1] == 1 else stored)
    with image:
      return to_array(fit(image, size=self._source.size_when_read, channels=self._channels))

  def _read_all(self) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((len(self), *self.image_shape), np.uint8)
    labels = np.empty(len(self), np.int32)

    def read(chunk: np.ndarray) -> None:
      images[chunk], labels[chunk] = self.read(chunk).values()

    small = np.prod(self.image_shape) < _BYTES_WORTH_A_THREAD
    with ThreadPoolExecutor(1 if small else max(1, self._source.num_threads)) as threads:
      list(threads.map(read, self._chunks()))
    return images, labels


def open_splits(source: Images) -> dict[str, ImageSplit]:
  """The splits "train", "eval" and, where there is another one, "test" of a source.

  Raises:
    BadInput: a field of the source, or what it points to, can't be used.
  """
  folder = source.dataset()
  try:
    builder = tfds.builder_from_directory(folder)
  except Exception as error:  # of TFDS, protobuf and json, about what describes the dataset
    raise _damaged(folder, error) from error
  info, dataset = builder.info, builder.info.full_name
  features = info.features
  features = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
  image = features.get("image")
  shape = tuple(image.shape or ()) if image and image.np_dtype == np.uint8 else ()
  if len(shape) != 3 or shape[-1] not in (None, 1, 3, 4):
    raise BadInput(
      f"{dataset}: needs a feature 'image' of uint8 [H, W, 1, 3 or 4]; its features are "
      f"{', '.join(sorted(features)) or 'none'}"
    )
  # Images are decoded here, without what TFDS would do besides; others not at all.
  encoded = (name for name, f in features.items() if isinstance(f, tfds.features.Image))
  decoders = {name: tfds.decode.SkipDecoding() for name in encoded}
  names = _split_names(source, info, dataset)
  try:
    records = {which: builder.as_data_source(n, decoders=decoders) for which, n in names.items()}
  except NotImplementedError as error:
    raise BadInput(
      f"{folder}: stored as {info.file_format.value}; prepare it with file_format='array_record'"
    ) from error
  try:
    if "test" in records and not source.test_split and records["test"][0].get("label", 0) < 0:
      del records["test"]  # its labels are kept back, as ImageNet's are
    return {
      which: ImageSplit(f"{dataset} {names[which]}", found, features, source=source)
      for which, found in records.items()
    }
  except RuntimeError as error:  # of ArrayRecord
    raise _damaged(folder, error) from error


def _damaged(folder: pathlib.Path, error: Exception) -> BadInput:
  reason = " ".join(str(error).split())[:200]
  return BadInput(f"{folder}: damaged ({reason}); delete it and prepare it anew")


def _split_names(source: Images, info: Any, dataset: str) -> dict[str, str]:
  """What is trained on, evaluated and, if it is something else, tested on, in TFDS' notation."""
  there = {name: split.num_examples for name, split in info.splits.items()}
  listed = ", ".join(f"{name} ({count} examples)" for name, count in there.items())

  def name_of(field: str, *defaults: str) -> str:
    name = getattr(source, field) or next((name for name in defaults if there.get(name)), "")
    if not name:
      raise BadInput(
        f"data.{field}: {dataset} has no split {' or '.join(defaults)}; name one of {listed}"
      )
    try:
      if info.splits[name].num_examples:
        return name
    except (ValueError, KeyError):
      pass
    raise BadInput(
      f"data.{field}: {dataset} has nothing in a split {name!r}; name one of {listed}, or a part "
      "of one such as train[:90%]"
    )

  names = {
    "train": name_of("train_split", "train"),
    "eval": name_of("eval_split", "validation", "test"),
  }
  if source.test_split or (there.get("test") and "test" not in " ".join(names.values())):
    names["test"] = name_of("test_split", "test")
  return names


def _by(shape: Sequence[int]) -> str:
  return "x".join(map(str, shape))
