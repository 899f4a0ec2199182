"""Sources of sound: files listed in the ways of the data sets, prepared once, as ArrayRecord.

Every file is read, mixed to mono, resampled and trimmed once, into a TFDS dataset under `dir`.
Files that are no sounds, or broken, are left out, counted and named. The splits are parts of the
utterances: "train", "eval", by which checkpoints are chosen, and "test", which figures are reported
on.

To add a source: a subclass with `listed`, in a file of its own or in a config file.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from train.config import Source
from train.errors import BadInput
from train.fields import field

if TYPE_CHECKING:
  from train.audio.names import Entry
  from train.audio.sounds import Sounds


class Listing(NamedTuple):
  """What a data set says it has."""

  root: pathlib.Path  # what names are relative to
  entries: "Sequence[Entry]"  # one at least


@dataclasses.dataclass(frozen=True)
class Audio(Source):
  """What every source of files has."""

  path: str = field("", may_vary=True)
  """Folder of the sounds."""
  rate: int = field(16000, least=1000, most=192000)
  """Samples a second that sounds are brought to."""
  trim_db: float = field(0.0, least=0)
  """Cut silence off at both ends: frames of 10 ms that are more decibels than this below the
  loudest; 0: sounds stay whole."""
  eval_fraction: float = field(0.05, least=0, most=0.999)
  """Part of the utterances that checkpoints are chosen by, of each speaker and label alike."""
  test_fraction: float = field(0.05, least=0, most=0.999)
  """Part that figures are reported on, drawn in the same way; 0: figures are reported on eval."""
  broken: Literal["skip", "stop"] = field("skip", may_vary=True)
  """What to do with files that are no sounds, broken or silent: leave them out, or stop."""
  dir: str = field("", may_vary=True)
  """Where prepared datasets are kept; empty: $TFDS_DATA_DIR, or else ~/tensorflow_datasets."""
  num_threads: int = field(8, least=1, may_vary=True)
  """Files that are read at a time, and batches, where the sounds do not fit in 1 GiB."""

  def listed(self) -> Listing:
    """The files, who speaks in them, and what they are labelled with.

    Raises:
      BadInput: there are none, or their names are not what they should be.
    """
    raise NotImplementedError

  def prepare(self) -> str:
    from train.audio.preparing import dataset
    from train.data.folders import data_dir

    return dataset(self).relative_to(data_dir(self.dir)).as_posix()

  def differs(self, before: str, now: str) -> str:
    from train.data import fingerprint
    from train.data.folders import data_dir

    files = fingerprint.difference(*(data_dir(self.dir) / name for name in (before, now)))
    return super().differs(before, now) + (f"; files: {files}" if files else "")

  def open(self) -> "dict[str, Sounds]":
    from train.audio.preparing import open_splits

    return open_splits(self)

  def about(self, splits: "dict[str, Sounds]") -> dict[str, Any]:
    train = splits["train"]
    return {
      "rate": train.rate,
      "speakers": list(train.speakers),
      "class_names": list(train.class_names),
      "num_classes": len(train.class_names),
      "sounds": {name: len(sounds) for name, sounds in splits.items()},
      "seconds": {name: round(sounds.seconds, 3) for name, sounds in splits.items()},
      "left_out": {name: sounds.left_out for name, sounds in splits.items()},
    }

  def folder(self, *inner: str) -> pathlib.Path:
    """The folder `path`, or one in it; raises BadInput where there is none."""
    found = pathlib.Path(self.path).expanduser().joinpath(*inner)
    if not self.path or not found.is_dir():
      named = str(found) if self.path else ""
      raise BadInput(f"data.path: no folder {named!r}; {type(self).__name__} reads sounds from it")
    return found


@dataclasses.dataclass(frozen=True)
class AudioFolder(Audio):
  """Sounds in a folder, whose names, or whose subfolders, say who speaks and what."""

  pattern: str = field("")
  """What names are made of, such as "{label}_{speaker}_{index}" or "{speaker}/{label}/{take}",
  without the ending; of the placeholders {speaker} and {label} one is needed."""
  subfolders: Literal["speaker", "label"] = field("speaker")
  """What a subfolder is, where there is no pattern."""

  def listed(self) -> Listing:
    from train.audio.names import by_pattern, by_subfolder, sounds_under

    root = self.folder()
    paths = sounds_under(root)
    if self.pattern:
      return Listing(root, by_pattern(root, paths, self.pattern))
    return Listing(root, by_subfolder(root, paths, self.subfolders))


@dataclasses.dataclass(frozen=True)
class Vctk(Audio):
  """VCTK: wav48/p225/p225_001.wav (0.80), wav48_silence_trimmed/p225/p225_001_mic1.flac (0.92)."""

  microphone: int = field(1, least=1, most=2)
  """Which of the two recordings of 0.92; two speakers have the first one only."""

  def listed(self) -> Listing:
    from train.audio.names import Entry, sounds_under

    newer = (self.folder() / "wav48_silence_trimmed").is_dir()
    paths = sounds_under(self.folder("wav48_silence_trimmed" if newer else "wav48"))
    if newer:
      paths = [path for path in paths if path.stem.endswith(f"_mic{self.microphone}")]
    if not paths:
      raise BadInput(f"data.microphone: no *_mic{self.microphone}.flac in {self.path}; try another")
    return Listing(self.folder(), [Entry(path, speaker=path.parent.name) for path in paths])


@dataclasses.dataclass(frozen=True)
class LibriSpeech(Audio):
  """LibriSpeech: PART/SPEAKER/CHAPTER/*.flac.

  Utterances are held out, not speakers: a decoder knows speakers by their numbers. So dev-* and
  test-*, which have speakers of their own, are parts like the others.
  """

  parts: tuple[str, ...] = field(("train-clean-100", "train-clean-360"))
  """Which of the corpus's folders to read."""

  def listed(self) -> Listing:
    from train.audio.names import Entry, sounds_under

    root, parts = self.folder(), dict.fromkeys(self.parts)  # each once
    if missing := [part for part in parts if not (root / part).is_dir()]:
      there = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "none"
      raise BadInput(f"data.parts: no folder {missing[0]!r} in {root}; there are {there}")
    paths = [path for part in parts for path in sounds_under(root / part)]
    entries = [Entry(path, speaker=path.parent.parent.name) for path in paths]
    return Listing(root, entries)


@dataclasses.dataclass(frozen=True)
class Tones(Source):
  """Melodies of a moment, made up; needs no file.

  An instrument, told by its pitch and timbre, is a speaker; how the pitch moves is the label. Every
  instrument plays all of them.
  """

  rate: int = field(8000, least=8000, most=192000)
  """Samples a second."""
  speakers: int = field(4, least=1, most=6)
  """Instruments."""
  copies: int = field(20, least=1)
  """Sounds of each instrument and label to train on; a quarter as many, but at least one, for
  evaluation and for the test each."""
  seconds: float = field(0.5, least=0.1, most=60)
  """How long the longest are; the shortest are half as long."""

  def prepare(self) -> str:
    # 2: of the voices; a run is not to go on with those of before.
    return f"tones 2 {self.rate} {self.speakers} {self.copies} {self.seconds}"

  def open(self) -> "dict[str, Sounds]":
    from train.audio.tones import open_splits

    return open_splits(self)

  about = Audio.about
