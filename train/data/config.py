"""What data a stage reads: plain data, overridden field by field from the command line."""

import dataclasses
from typing import Literal

# How the same examples are read: a resumed run may do it otherwise.
_MAY_VARY = {"may_vary": True}


@dataclasses.dataclass(frozen=True)
class Data:
  """A dataset of images, its splits, and how they are read."""

  source: Literal["digits", "idx", "folder", "omniglot", "tfds"] = "digits"
  """digits: scikit-learn's handwritten digits at 32x32, needs no file; idx: MNIST's file format;
  folder: images, a subfolder a class; omniglot: characters of many alphabets, bright ink on dark;
  tfds: a dataset already prepared in `dir`."""

  path: str = ""
  """Folder of the four idx files (source=idx) or of the images (source=folder); one of Omniglot's
  images_*.zip, an extracted folder of it, or a folder that holds such (source=omniglot)."""

  name: str = ""
  """Prepared TFDS dataset, as name[/config][:version] (source=tfds)."""

  train_split: str = ""
  """Split to train on, in TFDS' notation, such as train[:90%]; empty: train."""

  eval_split: str = ""
  """Split to evaluate on; empty: validation where there is one, otherwise test."""

  eval_fraction: float = 0.1
  """Part of each class held out for evaluation, of a folder that has no such split itself; of
  Omniglot's alphabets, where images_evaluation is not there: rounded, but at least one of them."""

  hold_out: Literal["examples", "classes"] = "examples"
  """Of a folder that has no such split itself (source=folder): a part of each class, or whole
  classes, eval_fraction of them (rounded, but at least one), which training then never sees."""

  eval_alphabets: str = ""
  """Alphabets held out for evaluation, separated by commas (source=omniglot); empty: as
  eval_fraction says."""

  image_size: int | None = None
  """Side in pixels: the shorter side is resized to it and the centre square cut out. None: as the
  images are, which then must all be of one size."""

  tile: int = 0
  """Cut every image (after image_size, where that is set) into squares of this side in pixels
  (source=folder); 0: images stay whole."""

  tile_stride: int = 0
  """Pixels from one training tile to the next; 0: they do not overlap. Held-out tiles never do."""

  channels: Literal[1, 3] | None = None
  """1: greyscale, 3: RGB, None: as the images are."""

  dir: str = dataclasses.field(default="", metadata=_MAY_VARY)
  """Where prepared datasets are kept; empty: $TFDS_DATA_DIR, or else ~/tensorflow_datasets."""

  cache: bool | None = dataclasses.field(default=None, metadata=_MAY_VARY)
  """Hold the decoded images in memory. None: where a split of them takes no more than 1 GiB."""

  num_threads: int = dataclasses.field(default=8, metadata=_MAY_VARY)
  """Threads that read and decode, each a whole batch; 0: read in the training thread."""

  prefetch: int = dataclasses.field(default=8, metadata=_MAY_VARY)
  """Batches read ahead of the training step; at least num_threads to keep all of them busy."""
