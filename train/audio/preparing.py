"""A source's files read once into a dataset, and its splits opened.

The dataset keeps what there is to say of it: its speakers and labels by name, and how many files of
each split were left out, so that whoever opens it later knows.
"""

import contextlib
import dataclasses
import itertools
import json
import pathlib
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from rich.console import Console
from rich.progress import track

from train.audio.files import Recording, load
from train.audio.names import Entry
from train.audio.sounds import Sounds
from train.audio.sources import Audio
from train.data import prepare
from train.data.fingerprint import Contents
from train.data.folders import data_dir, every_nth
from train.errors import BadInput
from train.files import whole

_CACHE_BYTES = 2**30  # a split of no more than this is held in memory
_AHEAD = 64  # files read before what was read is written
_NAMED = 5  # of the files that are left out
_EVERY = 60.0  # seconds between lines that say how far it is, where there is no terminal
# Two bytes a sample; in a list of numbers a negative one takes ten.
_BYTES = tfds.features.Encoding.BYTES


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  source: Audio
  root: pathlib.Path
  splits: dict[str, list[Entry]]  # train, eval and, where it is asked for, test
  speakers: list[str]
  class_names: list[str]  # empty where there are no labels
  console: Console
  contents: Contents
  read: bool = False  # whether the files had to be


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Sounds i16[T] at the source's rate; speakers and labels by number."""

  name = "sounds"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    config = self.builder_config
    features = {
      "sound": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding=_BYTES),
      "speaker": tfds.features.Scalar(np.int32),
      "label": tfds.features.Scalar(np.int32),
      "file": tfds.features.Text(),
    }
    notes = {
      "rate": config.source.rate,
      "speakers": list(map(_printable, config.speakers)),
      "class_names": list(map(_printable, config.class_names)),
      "left_out": {},  # by split
      "broken": [],  # the first of those left out, and why
      "clipped": 0,  # files
    }
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(features),
      metadata=tfds.core.MetadataDict(notes),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    return {split: self._generate_examples(split) for split in self.builder_config.splits}

  def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    config, notes = self.builder_config, self.info.metadata
    config.read, entries, broken = True, config.splits[split], []
    labels = config.class_names or [""]
    for entry, found in zip(entries, _shown(_read(entries, config), entries, config), strict=True):
      name = _printable(entry.path.relative_to(config.root).as_posix())
      if isinstance(found, str):
        broken.append(f"{name}: {found}")
        continue
      notes["clipped"] += found.clipped > 0
      yield (
        name,
        {
          "sound": found.samples,
          "speaker": config.speakers.index(entry.speaker),
          "label": labels.index(entry.label),
          "file": name,
        },
      )
    if len(broken) == len(entries):
      raise BadInput(f"data: no sound of the split {split} can be read ({broken[0]}, ...)")
    notes["left_out"][split] = len(broken)
    notes["broken"] += broken[: _NAMED - len(notes["broken"])]


def _printable(name: str) -> str:
  """Names of files need not be UTF-8."""
  return name.encode(errors="backslashreplace").decode()


def dataset(source: Audio) -> pathlib.Path:
  """The folder of a source's dataset, which is prepared now if need be.

  Raises:
    BadInput: the files can't be listed or split, or `broken` is "stop" and some are broken.
  """
  config = _config(source)
  folder = prepare.prepare(Builder, config, source.dir)
  config.contents.remember_with(folder)
  notes, count = _notes(folder), sum(map(len, config.splits.values()))
  if left_out := sum(notes["left_out"].values()):
    some = "; ".join([*notes["broken"], *["..."] * (left_out > len(notes["broken"]))])
    line = f"data: of {count:,} sounds in {config.root} {left_out:,} can't be read ({some})"
    if source.broken == "stop":
      raise BadInput(f"{line}; replace them, or set data.broken to skip")
    if config.read:
      config.console.print(f"{line}; they are left out", markup=False)
  if config.read and notes["clipped"]:
    config.console.print(
      f"data: of {count:,} sounds in {config.root} {notes['clipped']:,} clip, with 3 samples or "
      "more in a row at full scale",
      markup=False,
    )
  return folder


def open_splits(source: Audio) -> dict[str, Sounds]:
  """The splits "train", "eval" and, where test_fraction is not 0, "test" of a source."""
  folder = dataset(source)
  try:
    builder = tfds.builder_from_directory(folder)
    # What is stored are the samples' bytes.
    decoders, notes = {"sound": tfds.decode.SkipDecoding()}, _notes(folder)
    opened = {}
    for split in notes["left_out"]:
      records = builder.as_data_source(split, decoders=decoders)
      small = builder.info.splits[split].num_bytes <= _CACHE_BYTES
      sounds, columns = _in_memory(records) if small else _on_disk(records, folder / f"{split}.npz")
      opened[split] = Sounds(
        sounds,
        **columns,
        name=f"{source.path} {split}",
        rate=notes["rate"],
        speakers=notes["speakers"],
        class_names=notes["class_names"],
        left_out=notes["left_out"][split],
        num_threads=1 if small else source.num_threads,
      )
    return opened
  except (RuntimeError, ValueError, KeyError) as error:  # of ArrayRecord, protobuf and json
    reason = " ".join(str(error).split())[:200]
    raise BadInput(f"{folder}: damaged ({reason}); delete it and prepare it anew") from error


class _OnDisk(Sequence):
  """Sounds of records, each read when it is asked for."""

  def __init__(self, records: Sequence[Any]):
    self._records = records

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> np.ndarray:
    return _samples(self._records[int(index)])


def _samples(record: dict[str, Any]) -> np.ndarray:
  return np.frombuffer(record["sound"], "<i2")


def _in_memory(records: Sequence[Any]) -> tuple[list[np.ndarray], dict[str, Any]]:
  read = list(map(records.__getitem__, range(len(records))))
  return list(map(_samples, read)), _columns(read)


def _on_disk(records: Sequence[Any], known: pathlib.Path) -> tuple[_OnDisk, dict[str, Any]]:
  """What there is besides sound takes reading all records; it is kept in a file beside them."""
  try:
    with np.load(known, allow_pickle=False) as columns:
      return _OnDisk(records), dict(columns)
  except (OSError, ValueError, EOFError, zipfile.BadZipFile):
    pass  # missing or damaged
  columns = _columns(map(records.__getitem__, range(len(records))))
  # Where nothing can be written, it takes as long again.
  with contextlib.suppress(BadInput), whole(known) as path, path.open("wb") as file:
    np.savez(file, **columns)
  return _OnDisk(records), columns


def _columns(records: Iterable[dict[str, Any]]) -> dict[str, np.ndarray]:
  rows = [(len(_samples(r)), r["speaker"], r["label"], r["file"].decode()) for r in records]
  columns = map(np.array, zip(*rows, strict=True))
  return dict(zip(("lengths", "speaker", "label", "files"), columns, strict=True))


def _config(source: Audio) -> Config:
  listing = source.listed()
  splits = _parted(source, listing.root, listing.entries)
  speakers = sorted({entry.speaker for entry in listing.entries})
  labels = sorted({entry.label for entry in listing.entries})
  contents = Contents(listing.root, [e.path for e in listing.entries], data_dir(source.dir))
  listed = [(split, e[1:]) for split, entries in splits.items() for e in entries]
  stored = (source.rate, source.trim_db, source.eval_fraction, source.test_fraction, listed)
  return Config(
    name=contents.name(stored),
    source=source,
    root=listing.root,
    splits=splits,
    speakers=speakers,
    class_names=[] if labels == [""] else labels,
    console=Console(file=sys.stdout, highlight=False, soft_wrap=True),  # TFDS's prints are lost
    contents=contents,
  )


def _parted(source: Audio, root: pathlib.Path, entries: Sequence[Entry]) -> dict[str, list[Entry]]:
  """Of each speaker with each label the same share, which the hashes of the names choose."""
  numbered = lambda names: {name: i for i, name in enumerate(sorted(set(names)))}
  speakers = numbered(entry.speaker for entry in entries)
  labels = numbered(entry.label for entry in entries)
  splits, rest, left = {}, list(entries), 1.0
  for split in ("test", "eval"):
    fraction = getattr(source, f"{split}_fraction")
    names = [entry.path.relative_to(root).as_posix() for entry in rest]
    # Of every other speaker the labels are in reverse, so that what is rounded up for one speaker
    # is rounded down for the next, and each label as a whole has its share.
    pairs = ((speakers[entry.speaker], labels[entry.label]) for entry in rest)
    groups = [(speaker, -label if speaker % 2 else label) for speaker, label in pairs]
    taken = every_nth(names, groups, min(fraction / left, 1.0))
    splits[split] = list(itertools.compress(rest, taken))
    rest, left = [e for e, out in zip(rest, taken, strict=True) if not out], left - fraction
    if not splits[split] and (fraction or split == "eval"):
      raise BadInput(
        f"data.{split}_fraction: {fraction} of {len(entries)} sounds is none; raise it"
      )
  if not rest:
    raise BadInput(
      f"data.eval_fraction: {source.eval_fraction} and test_fraction {source.test_fraction} leave "
      "no sound to train on; lower them"
    )
  splits = {"train": rest, "eval": splits["eval"], "test": splits["test"]}
  return {split: part for split, part in splits.items() if part}


def _read(entries: Sequence[Entry], config: Config) -> Iterator[Recording | str]:
  """Of each entry what is in the file, or why it can't be read; some files at a time."""
  source = config.source

  def one(entry: Entry) -> Recording | str:
    try:
      return load(entry.path, rate=source.rate, trim_db=source.trim_db)
    except BadInput as error:
      reason = str(error).removeprefix(f"{entry.path}: ")
      return reason.removesuffix("; replace or remove it")

  with ThreadPool(source.num_threads) as threads:
    for first in range(0, len(entries), _AHEAD):
      yield from threads.map(one, entries[first : first + _AHEAD])


def _shown(work: Iterator, entries: Sequence[Entry], config: Config) -> Iterator:
  """The same, with a progress bar, or a line now and then."""
  console = config.console
  if console.is_terminal:
    yield from track(work, "reading the sounds", len(entries), console=console, transient=True)
    return
  said = time.monotonic()
  for done, found in enumerate(work, 1):
    if time.monotonic() > said + _EVERY:
      console.print(f"data: read {done:,} of {len(entries):,} sounds")
      said = time.monotonic()
    yield found


def _notes(folder: pathlib.Path) -> dict[str, Any]:
  return json.loads((folder / "metadata.json").read_text())
