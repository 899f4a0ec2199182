"""A source's listing looked at and opened: what is there, what is left out, and the splits."""

import functools
import itertools
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool

import numpy as np
from rich.progress import track

from train.data.fingerprint import Remembered, name_of
from train.data.folders import data_dir
from train.errors import BadInput
from train.report import console
from train.video import files
from train.video.files import Files
from train.video.sources import Listing, VideoFolder, VideoSource
from train.video.videos import Facts, Part, Unreadable, Videos

_NAMED = 5  # of the files that are left out
_EVERY = 60.0  # seconds between lines that say how far a look is, where there is no terminal
_last: tuple[VideoSource, "Looked"] | None = None


def prepare(source: VideoSource) -> str:
  global _last
  _last = source, Looked(source)
  return _last[1].name


def open_splits(source: VideoSource) -> dict[str, Videos]:
  """What `prepare` has just found, or a new look does."""
  global _last
  looked = _last[1] if _last and _last[0] == source else Looked(source)
  _last = None
  return looked.splits()


class Looked:
  """A source of files as they are now."""

  name: str  # of what is there

  def __init__(self, source: VideoSource):
    """Looks at every file that is not remembered.

    Raises:
      BadInput: a list is wrong, nothing can be read, or `broken` is "stop" and something is.
    """
    self._source, self._listing = source, source.listed()
    listed, root = _by_name(self._listing), self._listing.root
    names = list(dict.fromkeys(itertools.chain(*listed.values())))
    paths = [root / name for name in names]
    with ThreadPool(source.num_threads) as threads:
      exist = threads.map(os.path.exists, paths, 64)
    there = list(itertools.compress(paths, exist))
    show = functools.partial(_shown, count=len(there))
    memory, lasting = data_dir(source.dir) / ".videos", lambda found: isinstance(found, list)
    looked = Remembered(root, there, _look, memory, show=show, lasting=lasting)
    looked.remember()
    whole = {name: x for name in names if isinstance(x := looked.found.get(name), list)}
    self._facts = {name: self._facts_of(*x[1:]) for name, x in whole.items()}
    if len(whole) < len(names):
      broken = {name: x for name, x in looked.found.items() if name not in whole}
      self._say_left_out(len(names), broken, [n for n in names if n not in looked.found])
    self._splits = {
      split: {name: label for name, label in labels.items() if name in whole}
      for split, labels in listed.items()
    }
    self._left_out = {split: len(listed[split]) - len(x) for split, x in self._splits.items()}
    for split, labels in self._splits.items():
      if not labels:
        raise BadInput(f"data: the split {split} has no video that can be read")
    entries = [
      (split, *entry) for split, labels in self._splits.items() for entry in labels.items()
    ]
    options = (source.short_side, tuple(self._listing.class_names), tuple(entries))
    if isinstance(source, VideoFolder):
      options += (source.hold_out, source.eval_fraction)
    known = {name: (x[0], *self._facts[name]) for name, x in whole.items()}
    self.name = f"{type(source).__name__.lower()}/{name_of(known, options)}"

  def splits(self) -> dict[str, Videos]:
    """Those of the listing, named train, eval and, where there is another one, test."""
    source, found = self._source, {name: self._opened(name) for name in self._splits}
    if isinstance(source, VideoFolder) and source.hold_out == "time" and list(found) == ["train"]:
      found = _parted(found["train"], source.eval_fraction)
    if "train" not in found or len(found) == 1:
      raise BadInput(
        f"data: of train and a held-out split only {', '.join(found)} is there; set "
        "data.eval_fraction, or give both"
      )
    shape = tuple(np.max([videos.shape for videos in found.values()], axis=0).tolist())
    for split, videos in found.items():
      videos.name, videos.shape = f"{self._listing.root} {split}", shape
    ordered = {"train": found["train"], "eval": found.get("validation") or found["test"]}
    return ordered | ({"test": found["test"]} if {"validation", "test"} <= found.keys() else {})

  def _opened(self, split: str) -> Files:
    labels = self._splits[split]
    videos = Files(
      [self._listing.root / name for name in labels],
      list(labels),
      np.array(list(labels.values())),
      self._listing.class_names,
      [self._facts[name] for name in labels],
      short_side=self._source.short_side,
    )
    videos.num_threads, videos.broken = self._source.num_threads, self._source.broken
    videos.left_out = self._left_out[split]
    return videos

  def _facts_of(self, frames: int, fps: float, height: int, width: int) -> Facts:
    return Facts(frames, fps or self._source.fps, height, width)

  def _say_left_out(self, count: int, broken: dict[str, str], missing: Sequence[str]) -> None:
    said = []
    for what, names in (
      ("can't be read", [f"{name}: {why}" for name, why in broken.items()]),
      ("are missing", missing),
    ):
      some = [*names[:_NAMED], *["..."] * (len(names) > _NAMED)]
      said += [f"{len(names)} {what} ({'; '.join(some)})"] * bool(names)
    line = f"data: of {count} videos in {self._listing.root} {', '.join(said)}"
    line = line.encode(errors="backslashreplace").decode()  # names need not be UTF-8
    if self._source.broken == "stop":
      raise BadInput(f"{line}; replace them, or set data.broken to skip")
    console.print(f"{line}; they are left out", markup=False)


def _by_name(listing: Listing) -> dict[str, dict[str, int]]:
  """Of each split the labels by the names under the root; what is listed twice counts once.

  Raises:
    BadInput: a video is not under the root, has a label that is no class or several labels, or is
      to be trained on and held out.
  """
  root, most = os.path.abspath(listing.root), max(len(listing.class_names), 1) - 1
  splits = {}
  for split, entries in listing.splits.items():
    labels = splits[split] = {}
    for entry in entries:
      path = os.path.abspath(entry.path)
      if not path.startswith(root + os.sep):
        raise BadInput(
          f"data: {entry.path} is not in {listing.root}; set data.path to a folder that has all"
        )
      name = path[len(root) + 1 :]
      if not 0 <= entry.label <= most:
        raise BadInput(f"data: {name} has the label {entry.label}; the classes are 0 to {most}")
      if labels.setdefault(name, entry.label) != entry.label:
        raise BadInput(
          f"data: {name} is listed in {split} as class {labels[name]} and as {entry.label}; "
          "a video has one class"
        )
  for split, labels in splits.items():
    both = [name for name in labels if split != "train" and name in splits.get("train", {})]
    if both:
      raise BadInput(
        f"data: train and {split} both have {both[0]} ({len(both)} such); list each in one"
      )
  return splits


def _parted(whole: Files, eval_fraction: float) -> dict[str, Part]:
  """The start of each video, and its end: a frame of each at least."""
  if not eval_fraction:
    return {"train": whole}
  if (short := np.flatnonzero(whole.frames < 2)).size:
    name = whole.names[short[0]]
    raise BadInput(f"data.hold_out: 'time', but {name} has a single frame; remove it")
  cut = np.rint(whole.frames * (1 - eval_fraction)).astype(np.int64)
  cut = np.clip(cut, 1, whole.frames - 1)
  return {"train": Part(whole, np.zeros_like(cut), cut), "test": Part(whole, cut, whole.frames)}


def _look(path: pathlib.Path) -> list[float] | str:
  """Bytes and facts of a video, fps 0 where it does not say; or why it can't be read."""
  try:
    return [files.size(path), *files.look(path, fps=0.0)]
  except Unreadable as error:
    return str(error).removeprefix(f"{path}: ")


def _shown(work: Iterator, count: int) -> Iterator:
  if console.is_terminal:
    yield from track(work, "looking at the videos", count, console=console, transient=True)
    return
  said = time.monotonic()
  for done, found in enumerate(work, 1):
    if time.monotonic() > said + _EVERY:
      console.print(f"data: looked at {done:,} of {count:,} videos")
      said = time.monotonic()
    yield found
