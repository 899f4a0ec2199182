"""Sources of images: datasets prepared once, as ArrayRecord, and read by index.

Each prepares a TFDS dataset of its own under `dir`, or finds one there, and opens its splits:
"train", "eval", by which checkpoints are chosen, and "test", which figures are reported on, where
the dataset has both a validation and a test split. To add a source: a subclass with `dataset`, in
a file of its own or in a config file.
"""

import dataclasses
import importlib
import pathlib
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from train.config import Source
from train.errors import BadInput
from train.fields import field

if TYPE_CHECKING:
  from train.images.split import ImageSplit


@dataclasses.dataclass(frozen=True)
class Images(Source):
  """What every source of images has."""

  train_split: str = field("")
  """Split to train on, in TFDS' notation, such as train[:90%]; empty: train."""
  eval_split: str = field("")
  """Split that checkpoints are chosen by; empty: validation where there is one, otherwise test."""
  test_split: str = field("", may_vary=True)
  """Split that figures are reported on; empty: test, where eval_split is another."""
  image_size: int | None = field(None, least=1, most=2**14)
  """Side in pixels: the shorter side is resized to it and the centre square cut out. None: as the
  images are, which then must all be of one size."""
  channels: Literal[1, 3] | None = field(None)
  """1: greyscale, 3: RGB, None: as the images are."""
  dir: str = field("", may_vary=True)
  """Where prepared datasets are kept; empty: $TFDS_DATA_DIR, or else ~/tensorflow_datasets."""
  cache: bool | None = field(None, may_vary=True)
  """Hold the decoded images in memory. None: where a split of them takes no more than 1 GiB."""
  num_threads: int = field(8, least=0, may_vary=True)
  """Threads that read and decode, each a whole batch; 0: read in the training thread."""
  prefetch: int = field(8, least=0, may_vary=True)
  """Batches read ahead of the training step; at least num_threads to keep all of them busy."""

  inverted: ClassVar[bool] = False  # whether image files are the other way round, dark on light

  @property
  def size_when_read(self) -> int | None:
    """The side that stored images are resized to."""
    return self.image_size

  def dataset(self) -> pathlib.Path:
    """The folder of the prepared dataset, which is prepared now if need be."""
    raise NotImplementedError

  def prepare(self) -> str:
    from train.data.folders import data_dir

    folder, root = self.dataset(), data_dir(self.dir)
    return (folder.relative_to(root) if folder.is_relative_to(root) else folder).as_posix()

  def differs(self, before: str, now: str) -> str:
    from train.data import fingerprint, prepare
    from train.data.folders import data_dir

    datasets = [data_dir(self.dir) / name for name in (before, now)]
    if before == now or prepare.hold_the_same(*datasets):
      return ""
    files = fingerprint.difference(*datasets)
    return super().differs(before, now) + (f"; files: {files}" if files else "")

  def open(self) -> "dict[str, ImageSplit]":
    from train.images.split import open_splits

    return open_splits(self)

  def about(self, splits: "dict[str, ImageSplit]") -> dict[str, Any]:
    train = splits["train"]
    return {
      "image_shape": list(train.image_shape),
      "num_classes": train.num_classes,
      "class_names": list(train.class_names),
      "variance": train.variance(),
    }


class _Built(Images):
  """Of a builder of ours, in builders/."""

  def dataset(self) -> pathlib.Path:
    from train.data import prepare

    # Of a subclass, in a config file say, the builder is that of the class here.
    name = next(cls.__name__ for cls in type(self).__mro__ if _Built in cls.__bases__).lower()
    module = importlib.import_module(f"train.images.builders.{name}")
    config = module.config(self)
    folder = prepare.prepare(module.Builder, config, self.dir)
    if config:
      config.contents.remember_with(folder)
    return folder


@dataclasses.dataclass(frozen=True)
class Digits(_Built):
  """scikit-learn's handwritten digits at 32x32; needs no file."""


@dataclasses.dataclass(frozen=True)
class Idx(_Built):
  """Images and labels in MNIST's file format."""

  path: str = field("", may_vary=True)
  """Folder of the four idx files, gzipped or not."""


@dataclasses.dataclass(frozen=True)
class Folder(_Built):
  """Images in a folder, a subfolder a class, or a subfolder a split."""

  path: str = field("", may_vary=True)
  """Folder of the images."""
  eval_fraction: float = field(0.1, least=0, most=0.999)
  """Part of each class held out for evaluation, of a folder that has no such split itself."""
  hold_out: Literal["examples", "classes"] = field("examples")
  """Of a folder that has no such split itself: a part of each class, or whole classes,
  eval_fraction of them (rounded, but at least one), which training then never sees."""
  tile: int = field(0, least=0)
  """Cut every image (after image_size, where that is set) into squares of this side in pixels; 0:
  images stay whole."""
  tile_stride: int = field(0, least=0)
  """Pixels from one training tile to the next; 0: they do not overlap. Held-out tiles never do."""

  @property
  def size_when_read(self) -> int | None:
    return None if self.tile else self.image_size  # tiles were cut from images of that size

  def dataset(self) -> pathlib.Path:
    if self.tile_stride and not self.tile:
      raise BadInput(f"data.tile_stride: {self.tile_stride}, but data.tile is 0; set that as well")
    return super().dataset()


@dataclasses.dataclass(frozen=True)
class Omniglot(_Built):
  """Characters of many alphabets, bright ink on dark, whole alphabets held out."""

  path: str = field("", may_vary=True)
  """One of Omniglot's images_*.zip, an extracted folder of it, or a folder that holds such."""
  eval_fraction: float = field(0.1, least=0, most=0.999)
  """Part of the alphabets held out, where images_evaluation is not there: rounded, but at least
  one of them."""
  eval_alphabets: str = field("")
  """Alphabets held out, separated by commas; empty: images_evaluation, or as eval_fraction says."""

  inverted = True


@dataclasses.dataclass(frozen=True)
class Tfds(Images):
  """A dataset prepared in `dir` by TFDS, as ArrayRecord, with features `image` and `label`."""

  name: str = field("")
  """Its name, as name[/config][:version]."""

  def dataset(self) -> pathlib.Path:
    from train.data import prepare
    from train.data.folders import data_dir

    return prepare.find_prepared(data_dir(self.dir), self.name)
