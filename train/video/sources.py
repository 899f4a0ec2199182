"""Sources of videos: files listed in the ways of the data sets, looked at once.

Videos are decoded as they are needed. The first look at a file counts its frames and tells its rate
and size; what it found is remembered beside the prepared datasets, now and then while it lasts, so
that later runs take a stat a file. What is missing, no video, or broken is left out, counted and
named. Videos are known by their names under the folder, their bytes, and what the look found.

To add a source: a subclass with `listed`, in a file of its own or in a config file.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from train.config import Source
from train.errors import BadInput
from train.fields import field

if TYPE_CHECKING:
  from train.video.videos import Videos


class Entry(NamedTuple):
  """A video of a split."""

  path: pathlib.Path
  label: int


class Listing(NamedTuple):
  """What a data set says it has."""

  root: pathlib.Path  # what names are relative to
  splits: Mapping[str, Sequence[Entry]]  # "train", "validation", "test"; the first is needed
  class_names: Sequence[str]


@dataclasses.dataclass(frozen=True)
class VideoSource(Source):
  """What every source of videos has."""

  path: str = field("", may_vary=True)
  """Folder of the videos."""
  short_side: int | None = field(None, least=1, most=2**14)
  """Pixels that the shorter side of a frame is scaled to when it is decoded; None: as it is."""
  fps: float = field(30.0, least=1e-3)
  """Frames a second of arrays and folders of pictures, which do not say."""
  broken: Literal["skip", "stop"] = field("skip", may_vary=True)
  """What to do with files that are no videos, or not whole: leave them out, or stop."""
  dir: str = field("", may_vary=True)
  """Where it is remembered what the files are; empty: as for prepared datasets."""
  num_threads: int = field(8, least=1, may_vary=True)
  """Videos that are read at a time."""

  def listed(self) -> Listing:
    """The files, their classes and splits.

    Raises:
      BadInput: a list is missing, or is not what it should be.
    """
    raise NotImplementedError

  def prepare(self) -> str:
    from train.video import opening

    return opening.prepare(self)

  def open(self) -> "dict[str, Videos]":
    from train.video import opening

    return opening.open_splits(self)

  def about(self, splits: "dict[str, Videos]") -> dict[str, Any]:
    train = splits["train"]
    return {
      "num_classes": len(train.class_names),
      "class_names": list(train.class_names),
      "frame_shape": list(train.shape),
      **({"action_dim": train.action_dim} if train.action_dim else {}),
      "videos": {name: len(videos) for name, videos in splits.items()},
      "left_out": {name: videos.left_out for name, videos in splits.items()},
    }

  def folder(self, path: str, name: str = "path") -> pathlib.Path:
    """A folder that a field names; raises BadInput where there is none."""
    found = pathlib.Path(path).expanduser()
    if not path or not found.is_dir():
      raise BadInput(f"data.{name}: no folder {path!r}; {type(self).__name__} reads videos from it")
    return found

  def file(self, path: str, name: str) -> pathlib.Path:
    """A list that a field names; raises BadInput where there is none."""
    found = pathlib.Path(path).expanduser()
    if not path or not found.is_file():
      raise BadInput(f"data.{name}: no file {path!r}; {type(self).__name__} needs it")
    return found


@dataclasses.dataclass(frozen=True)
class VideoFolder(VideoSource):
  """Videos in a folder, a subfolder a class, or a subfolder a split."""

  eval_fraction: float = field(0.2, least=0, most=0.999)
  """Part held out for evaluation, of a folder that has no such split itself."""
  hold_out: Literal["videos", "time"] = field("videos")
  """Of a folder that has no such split itself: a part of each class, or the end of each video."""

  def listed(self) -> Listing:
    from train.data.folders import by_split

    root = self.folder(self.path)
    how = "examples" if self.hold_out == "videos" else "nothing"
    splits, names = by_split(root, self.eval_fraction, what="videos", hold_out=how)
    return Listing(root, {k: [Entry(*e) for e in v] for k, v in splits.items()}, names)


@dataclasses.dataclass(frozen=True)
class VideoList(VideoSource):
  """Videos in lists, a line each: `PATH LABEL`, or `PATH FRAMES LABEL` (TSN, mmaction2)."""

  train_list: str = field("", may_vary=True)
  """File that lists the videos to train on."""
  eval_list: str = field("", may_vary=True)
  """File that lists those that checkpoints are chosen by."""
  test_list: str = field("", may_vary=True)
  """File that lists those that figures are reported on; empty: those of eval_list."""
  class_names: str = field("", may_vary=True)
  """File with a class's name a line, in order; empty: classes are numbers."""

  def listed(self) -> Listing:
    from train.video import lists

    root = self.folder(self.path)
    files = {"train": "train_list", "validation": "eval_list", "test": "test_list"}
    if not self.test_list:
      del files["test"]
    splits = {
      split: lists.numbered(self.file(getattr(self, name), name), root)
      for split, name in files.items()
    }
    if self.class_names:
      names = [name for _, name in lists.lines_of(self.file(self.class_names, "class_names"))]
    else:
      most = max(entry.label for entries in splits.values() for entry in entries)
      names = list(map(str, range(most + 1)))
    return Listing(root, splits, names)


@dataclasses.dataclass(frozen=True)
class Ucf101(VideoSource):
  """UCF101: CLASS/v_CLASS_gNN_cNN.avi, and its lists of splits."""

  lists: str = field("", may_vary=True)
  """Folder of classInd.txt, trainlist01.txt, testlist01.txt, ... (ucfTrainTestlist)."""
  split: int = field(1, least=1, most=3)
  """Which of the three splits."""

  def listed(self) -> Listing:
    from train.video import lists

    root, where = self.folder(self.path), self.folder(self.lists, "lists")
    return lists.ucf101(root, where, self.split)


@dataclasses.dataclass(frozen=True)
class Hmdb51(VideoSource):
  """HMDB51: CLASS/NAME.avi, and its lists of splits."""

  lists: str = field("", may_vary=True)
  """Folder of CLASS_test_split1.txt, ... (testTrainMulti_7030_splits)."""
  split: int = field(1, least=1, most=3)
  """Which of the three splits."""

  def listed(self) -> Listing:
    from train.video import lists

    root, where = self.folder(self.path), self.folder(self.lists, "lists")
    return lists.hmdb51(root, where, self.split)


@dataclasses.dataclass(frozen=True)
class Kinetics(VideoSource):
  """Kinetics: its csv files with columns label, youtube_id, time_start, time_end.

  A video is called YOUTUBEID_STARTSS_ENDSSSS.mp4 (six digits each), or YOUTUBEID.mp4, in the folder
  or in a subfolder, such as its class's or its split's.
  """

  train_csv: str = field("", may_vary=True)
  """File that lists the videos to train on."""
  eval_csv: str = field("", may_vary=True)
  """File that lists those to evaluate on."""

  def listed(self) -> Listing:
    from train.video import lists

    files = (self.file(getattr(self, name), name) for name in ("train_csv", "eval_csv"))
    return lists.kinetics(self.folder(self.path), *files)


@dataclasses.dataclass(frozen=True)
class Something(VideoSource):
  """Something-Something: ID.webm (or another ending), and its json files."""

  train_json: str = field("", may_vary=True)
  """List of {"id", "template"} to train on (something-something-v2-train.json)."""
  eval_json: str = field("", may_vary=True)
  """List of {"id", "template"} to evaluate on (something-something-v2-validation.json)."""
  labels_json: str = field("", may_vary=True)
  """Numbers by template (something-something-v2-labels.json)."""

  def listed(self) -> Listing:
    from train.video import lists

    names = ("train_json", "eval_json", "labels_json")
    files = (self.file(getattr(self, name), name) for name in names)
    return lists.something(self.folder(self.path), *files)


@dataclasses.dataclass(frozen=True)
class VideoArrays(Source):
  """Videos of one size in an .npz: videos u8[N, T, H, W, C], labels int[N], class_names if any.

  And, if any, actions float[N, T, A]: what was done after each frame, to which the next one is due.
  """

  path: str = field("", may_vary=True)
  """The file."""
  fps: float = field(30.0, least=1e-3)
  """Frames a second."""
  eval_fraction: float = field(0.2, least=0, most=0.999)
  """Part of each class held out for evaluation."""
  fold: int = field(0, least=0)
  """Which part: 0, or the next one of that size, 1, and so on, as in cross-validation."""

  def prepare(self) -> str:
    from train.video import arrays

    return arrays.prepare(self)

  def open(self) -> "dict[str, Videos]":
    from train.video import arrays

    return arrays.open_splits(self)

  about = VideoSource.about


@dataclasses.dataclass(frozen=True)
class MovingDigits(Source):
  """scikit-learn's digits, each moving in one of six directions over 28x28; needs no file."""

  length: int = field(16, least=2)
  """Frames of a video."""
  copies: int = field(8, least=1)
  """Videos of each digit that is trained on, of directions and places of their own."""

  def prepare(self) -> str:
    return f"moving digits {self.length} {self.copies}"

  def open(self) -> "dict[str, Videos]":
    from train.video.moving_digits import open_splits

    return open_splits(self)

  about = VideoSource.about
