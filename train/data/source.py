"""A split of a prepared dataset: images of one shape and labels, by index."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from train.data.config import Data
from train.data.images import fit, to_array
from train.data.prepare import prepare
from train.errors import BadInput

_CACHE_BYTES = 2**30
_CHUNK = 512  # examples read at once while the cache is filled
# Decoding a smaller image is mostly Python, in which threads are only in each other's way.
_BYTES_WORTH_A_THREAD = 2**14


class Split:
  """Examples of a split, at the size and with the channels that `Data` asks for.

  `split[i]` is {"image": uint8[H, W, C], "label": int32[]}; labels are 0 where there are none.
  Safe to read from several threads.
  """

  name: str  # dataset and split, for messages
  image_shape: tuple[int, int, int]  # H, W, C
  num_classes: int  # 0 where there are no labels
  class_names: tuple[str, ...]  # empty where there are no labels
  num_threads: int  # that reading ahead is worth; 0: none
  prefetch: int  # batches to read ahead

  def __init__(self, name: str, examples: Sequence[Any], features: dict[str, Any], *, data: Data):
    """`examples` are TFDS' records, images not yet decoded; `open_split` puts them together."""
    self.name, self._examples, self._data = name, examples, data
    depth = features["image"].shape[-1]
    self._channels = data.channels or (1 if depth == 1 else 3)
    label = features.get("label")
    self._labelled = isinstance(label, tfds.features.ClassLabel)
    self.num_classes = (label.num_classes or 0) if self._labelled else 0
    self.class_names = tuple(label.names) if self.num_classes else ()
    self._cache: tuple[np.ndarray, np.ndarray] | None = None
    self.image_shape = self._image(examples[0]["image"]).shape
    size = len(self) * int(np.prod(self.image_shape))
    if data.cache or (data.cache is None and size <= _CACHE_BYTES):
      self._cache = self._read_all()
    # Batches from memory are one copy each.
    useful = 1 if self._cache is not None else data.num_threads
    self.num_threads, self.prefetch = min(useful, data.prefetch), data.prefetch

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    if not -len(self) <= index < len(self):
      raise IndexError(f"{self.name}: example {index} of {len(self)}")
    return {name: x[0] for name, x in self.examples([index % len(self)]).items()}

  def examples(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """What `gather` gives, by the names it has in a batch."""
    images, labels = self.gather(indices)
    return {"image": images, "label": labels}

  def gather(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """uint8[N, H, W, C] and int32[N] of the examples at N indices, each 0..len-1.

    Raises:
      BadInput: an image is not of the split's shape.
    """
    if self._cache is not None:
      rows = np.asarray(indices, np.intp)
      return self._cache[0][rows], self._cache[1][rows]
    examples = self._examples.__getitems__([int(i) for i in indices])
    images = np.empty((len(examples), *self.image_shape), np.uint8)
    labels = np.zeros(len(examples), np.int32)
    for row, example in enumerate(examples):
      image = self._image(example["image"])
      if image.shape != self.image_shape:
        raise BadInput(
          f"{self.name}: example {indices[row]} is {_by(image.shape)}, the first "
          f"{_by(self.image_shape)}; set data.image_size to bring all to one size"
        )
      images[row] = image
      if self._labelled:
        labels[row] = example["label"]
    return images, labels

  def labels(self) -> np.ndarray:
    """int32[len] of all examples, 0 where there are none; decodes no image."""
    if self._cache is not None:
      return self._cache[1].copy()
    labels = np.zeros(len(self), np.int32)
    for i in range(0, len(self) if self._labelled else 0, _CHUNK):
      chunk = list(range(len(self))[i : i + _CHUNK])
      labels[chunk] = [example["label"] for example in self._examples.__getitems__(chunk)]
    return labels

  def _image(self, stored: bytes | np.ndarray) -> np.ndarray:
    """uint8[H, W, C] of an encoded image, or of an array where the dataset stores those."""
    if isinstance(stored, bytes):
      image = Image.open(io.BytesIO(stored), formats=("PNG", "JPEG", "BMP", "GIF"))
    else:
      image = Image.fromarray(stored[..., 0] if stored.shape[-1] == 1 else stored)
    with image:
      # Tiles were cut from images of that size; they are not of it.
      size = None if self._data.tile else self._data.image_size
      return to_array(fit(image, size=size, channels=self._channels))

  def _read_all(self) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((len(self), *self.image_shape), np.uint8)
    labels = np.empty(len(self), np.int32)

    def read(chunk: range) -> None:
      images[chunk.start : chunk.stop], labels[chunk.start : chunk.stop] = self.gather(chunk)

    chunks = [range(len(self))[i : i + _CHUNK] for i in range(0, len(self), _CHUNK)]
    small = np.prod(self.image_shape) < _BYTES_WORTH_A_THREAD
    with ThreadPoolExecutor(1 if small else max(1, self._data.num_threads)) as threads:
      try:
        for _ in threads.map(read, chunks):
          pass
      except BaseException:
        threads.shutdown(cancel_futures=True)  # don't decode the rest first
        raise
    return images, labels


def open_split(data: Data, which: Literal["train", "eval"]) -> Split:
  """The split of `data` to train or to evaluate on; prepares the dataset if need be.

  Raises:
    BadInput: a field of `data`, or what it points to, can't be used.
  """
  folder = prepare(data)
  builder = tfds.builder_from_directory(folder)
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
  split = _split_name(data, which, info, dataset=dataset)
  # Images are decoded here, without what TFDS would do besides; others not at all.
  encoded = (name for name, f in features.items() if isinstance(f, tfds.features.Image))
  decoders = {name: tfds.decode.SkipDecoding() for name in encoded}
  try:
    examples = builder.as_data_source(split, decoders=decoders)
  except NotImplementedError as error:
    raise BadInput(
      f"{folder}: stored as {info.file_format.value}; prepare it with file_format='array_record'"
    ) from error
  try:
    return Split(f"{dataset} {split}", examples, features, data=data)
  except RuntimeError as error:  # of ArrayRecord
    raise BadInput(
      f"{folder}: damaged ({' '.join(str(error).split())}); delete it and prepare it anew"
    ) from error


def _split_name(data: Data, which: str, info: Any, *, dataset: str) -> str:
  field, given, defaults = {
    "train": ("train_split", data.train_split, ("train",)),
    "eval": ("eval_split", data.eval_split, ("validation", "test")),
  }[which]
  there = {name: split.num_examples for name, split in info.splits.items()}
  listed = ", ".join(f"{name} ({count} examples)" for name, count in there.items())
  name = given or next((name for name in defaults if there.get(name)), "")
  if not name:
    raise BadInput(
      f"data.{field}: {dataset} has no split {' or '.join(defaults)}; name one of {listed}"
    )
  try:
    count = info.splits[name].num_examples
  except (ValueError, KeyError) as error:
    raise BadInput(
      f"data.{field}: {dataset} has no split {name!r}; name one of {listed}, or a part of one "
      "such as train[:90%]"
    ) from error
  if not count:
    raise BadInput(f"data.{field}: {name} of {dataset} is empty; name one of {listed}")
  return name


def _by(shape: Sequence[int]) -> str:
  return "x".join(map(str, shape))
