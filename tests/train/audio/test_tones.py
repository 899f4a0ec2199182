"""Tones: voices and contours that do not tell of each other, the same ones every time."""

import numpy as np
import pytest

from train.audio.sources import Tones
from train.audio.tones import CONTOURS, VOICES, tone
from train.fields import check


def pitch_of(x, voice, rate):
  """Semitones over the voice's lowest pitch, by the first high peak of the autocorrelation."""
  lags = np.arange(int(rate / voice.pitch / 2.5), int(rate / voice.pitch * 1.1) + 1)
  x = x.astype(float)
  same = np.array([np.dot(x[lag:], x[:-lag]) / (len(x) - lag) for lag in lags])
  peaks = (same[1:-1] >= same[:-2]) & (same[1:-1] >= same[2:]) & (same[1:-1] > 0.8 * same.max())
  return 12 * np.log2(rate / lags[1:-1][peaks][0] / voice.pitch)


def test_what_it_makes():
  source = Tones(copies=5, speakers=3)
  check(source)
  splits = source.open()
  assert splits.keys() == {"train", "eval", "test"}
  assert source.about(splits) == {
    "rate": 8000,
    "speakers": ["horn", "flute", "reed"],
    "class_names": list(CONTOURS),
    "num_classes": 6,
    "sounds": {"train": 90, "eval": 18, "test": 18},
    "seconds": {name: round(sounds.seconds, 3) for name, sounds in splits.items()},
    "left_out": {"train": 0, "eval": 0, "test": 0},
  }
  train = splits["train"]
  kinds = np.zeros((3, 6), int)
  np.add.at(kinds, (train.speaker, train.label), 1)
  assert (kinds == 5).all()
  assert train.lengths.min() >= 2000 and 2000 < train.lengths.max() <= 4000
  assert len(set(train.lengths)) > 50
  for i in range(len(train)):
    x = train.read(i)
    assert x.dtype == np.int16 and len(x) == train.lengths[i]
    assert 0.29 < np.abs(x).max() / 32767 < 0.91


def test_the_same_ones_every_time_and_others_in_every_split():
  first, second = Tones(copies=4).open(), Tones(copies=4).open()
  seen = set()
  for name, sounds in first.items():
    read = [sounds.read(i).tobytes() for i in range(len(sounds))]
    assert read == [second[name].read(i).tobytes() for i in range(len(sounds))]
    assert len(set(read)) == len(sounds) and not seen & set(read)
    seen |= set(read)
  names = {source.prepare() for source in (Tones(), Tones(copies=3), Tones(rate=16000))}
  assert len(names) == 3 and Tones().prepare() in names


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
def test_pitch_moves_as_the_contour_says(voice):
  rng, rate = np.random.default_rng(0), 16000
  for contour, semitones in CONTOURS.items():
    x = tone(voice, contour, rate=rate, seconds=1.0, rng=rng)
    at = np.array([0.1, 0.25, 0.4, 0.6, 0.75, 0.9])
    length = rate // 25
    found = [pitch_of(x[int(u * rate) - length // 2 :][:length], voice, rate) for u in at]
    off = found - semitones(at)
    assert (off > -1.5).all() and (off < 3.5).all(), (contour, found)  # begins within 2


def test_harmonics_stay_below_half_the_lowest_rate():
  for voice in VOICES:
    highest = voice.pitch * 2 ** ((14 + voice.vibrato) / 12) * len(voice.harmonics)
    assert highest < 4000
