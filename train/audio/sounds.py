"""Sounds of a split, whole, and the examples that are cut from them."""

from collections.abc import Sequence

import numpy as np

from train.data.examples import Examples, words

_SOFTER = 40  # dB at most, of other sounds that are heard first


class Sounds:
  """Utterances: mono, 16 bits, of one rate, each with a speaker and, if there are any, a label."""

  name: str  # for messages
  rate: int  # Hz
  speakers: tuple[str, ...]  # one "" where none are known
  class_names: tuple[str, ...]  # empty where there are no labels
  lengths: np.ndarray  # i64[N], samples
  speaker: np.ndarray  # i32[N], of `speakers`
  label: np.ndarray  # i32[N], of `class_names`; 0 where there are none
  files: tuple[str, ...]  # their names
  left_out: int  # files that can't be read

  def __init__(
    self,
    sounds: Sequence[np.ndarray],
    *,
    name: str,
    rate: int,
    files: Sequence[str],
    speaker: np.ndarray | None = None,
    label: np.ndarray | None = None,
    speakers: Sequence[str] = ("",),
    class_names: Sequence[str] = (),
    lengths: np.ndarray | None = None,
    left_out: int = 0,
    num_threads: int = 1,
  ):
    """Each of the sounds is an i16[T], T >= 1.

    Args:
      lengths: where to ask each of the sounds would take long.
      num_threads: that reading them is worth.
    """
    count, self._sounds = len(sounds), sounds
    self.name, self.rate, self.files = name, rate, tuple(map(str, files))
    self.speakers, self.class_names = tuple(speakers), tuple(class_names)
    self.lengths = np.array([len(x) for x in sounds] if lengths is None else lengths, np.int64)
    self.speaker = np.array(np.zeros(count) if speaker is None else speaker, np.int32)
    self.label = np.array(np.zeros(count) if label is None else label, np.int32)
    self.left_out, self.num_threads = left_out, num_threads

  def __len__(self) -> int:
    return len(self._sounds)

  def read(self, index: int) -> np.ndarray:
    """i16[T], T = lengths[index]; not to be written to."""
    return self._sounds[index]

  @property
  def seconds(self) -> float:
    """Of all sounds together."""
    return int(self.lengths.sum()) / self.rate


class Chunks(Examples):
  """Examples {"sound": i16[size], "length": i32, "speaker": i32, "label": i32} of sounds.

  An utterance of T samples has ceil(T / size) places. Held out, place j is its samples from j *
  size on, so that every sample is in one place; in training a place is a start drawn uniformly from
  those where at least three quarters of the chunk are real, or 0 where the utterance has no more:
  what follows an end is learned as well. What is missing is 0; `length` samples are real.

  With `strange` there are {"other": i16[size], "first": i32} as well: another place, up to 40 dB
  softer, and how many of its samples may be heard in place of the sound's own. That is less than
  half of them in so large a part of the training examples, and 0 otherwise.
  """

  def __init__(self, sounds: Sounds, size: int, *, whole: bool = False, strange: float = 0.0):
    """`whole`: one example an utterance, always from its start, cut at `size`."""
    self.sounds, self.size, self.whole, self.strange = sounds, size, whole, strange
    self.name, self.num_threads = sounds.name, sounds.num_threads
    places = np.ones_like(sounds.lengths) if whole else -(-sounds.lengths // size)
    self._ends = np.cumsum(places)

  def __len__(self) -> int:
    return int(self._ends[-1])

  def read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, np.ndarray]:
    example = self._read(np.asarray(indices, np.int64), draws)
    return example | self._strange(example["sound"], draws) if self.strange else example

  def _read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, np.ndarray]:
    utterance = np.searchsorted(self._ends, indices, side="right")
    starts = self._starts(utterance, indices, draws)
    lengths = np.minimum(self.sounds.lengths[utterance] - starts, self.size)
    sound = np.zeros((len(indices), self.size), np.int16)
    for row, (i, start, length) in enumerate(zip(utterance, starts, lengths, strict=True)):
      sound[row, :length] = self.sounds.read(i)[start : start + length]
    return {
      "sound": sound,
      "length": lengths.astype(np.int32),
      "speaker": self.sounds.speaker[utterance],
      "label": self.sounds.label[utterance],
    }

  def _strange(self, sound: np.ndarray, draws: np.ndarray | None) -> dict[str, np.ndarray]:
    """What may be heard before each of the sounds goes on."""
    if draws is None:
      return {"other": np.zeros_like(sound), "first": np.zeros(len(sound), np.int32)}
    whose, where, softer, whether, many = words(draws, 5)
    other = self._read((whose % np.uint64(len(self))).astype(np.int64), where)["sound"]
    part = lambda word: word * 2.0**-64
    gain = 10 ** (-_SOFTER / 20 * part(softer))
    first = np.where(part(whether) < self.strange, many % np.uint64(max(self.size // 2, 1)), 0)
    return {
      "other": np.rint(other * gain[:, None]).astype(np.int16),
      "first": first.astype(np.int32),
    }

  def _starts(
    self, utterance: np.ndarray, indices: np.ndarray, draws: np.ndarray | None
  ) -> np.ndarray:
    """i64[N]: the first sample of each."""
    if self.whole:
      return np.zeros_like(indices)
    if draws is None:
      first = np.where(utterance > 0, self._ends[utterance - 1], 0)  # place of the utterance
      return (indices - first) * self.size
    real = self.size - self.size // 4
    starts = np.maximum(self.sounds.lengths[utterance] - real, 0) + 1
    return (draws % starts.astype(np.uint64)).astype(np.int64)
