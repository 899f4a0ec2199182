"""Melodies of a moment: who plays is told by pitch and timbre, what is played by how pitch moves.

A sound is the sum of harmonics of a pitch that moves within 14 semitones over the instrument's
lowest, with vibrato as the instrument has it and some noise, so that it is timbre that tells one
instrument from another. Every instrument plays every contour as often, with a level, a length, a
beginning and phases of their own, so neither tells of the other.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from train.audio.sounds import Sounds
from train.audio.sources import Tones


class Voice(NamedTuple):
  """An instrument."""

  name: str
  pitch: float  # Hz, the lowest
  harmonics: tuple[float, ...]  # their strengths, from the fundamental up
  vibrato: float  # semitones, six times a second
  noise: float  # standard deviation, of a sum of harmonics with a power of 1


VOICES = (
  Voice("horn", 110, (0.5, 1.0, 0.8, 0.4, 0.2, 0.1), 0.0, 0.03),
  Voice("flute", 440, (1.0, 0.2, 0.05), 0.3, 0.03),
  Voice("reed", 220, (1.0, 0.0, 0.7, 0.0, 0.5, 0.0, 0.3), 0.0, 0.03),
  Voice("fiddle", 165, (1.0, 0.6, 0.5, 0.4, 0.3, 0.3, 0.2, 0.2), 0.5, 0.03),
  Voice("organ", 330, (1.0, 0.8, 0.0, 0.6), 0.0, 0.03),
  Voice("breath", 275, (1.0, 0.4, 0.1), 0.1, 0.3),
)

# Semitones at a time u in [0, 1).
CONTOURS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  "steady": lambda u: np.full_like(u, 6.0),
  "rise": lambda u: 12 * u,
  "fall": lambda u: 12 - 12 * u,
  "up and down": lambda u: 12 - 12 * np.abs(2 * u - 1),
  "down and up": lambda u: 12 * np.abs(2 * u - 1),
  "two tones": lambda u: np.where(u < 0.5, 3.0, 10.0),
}


def tone(
  voice: Voice, contour: str, *, rate: int, seconds: float, rng: np.random.Generator
) -> np.ndarray:
  """i16[T], T = seconds * rate: a voice plays a contour."""
  t = np.arange(round(seconds * rate)) / rate
  vibrato = voice.vibrato * np.sin(2 * np.pi * (6 * t + rng.random()))
  semitones = CONTOURS[contour](t / seconds) + 2 * rng.random() + vibrato
  phase = 2 * np.pi * np.cumsum(voice.pitch * 2 ** (semitones / 12)) / rate
  strengths = np.array(voice.harmonics) / np.sqrt(np.square(voice.harmonics).sum() / 2)
  x = sum(
    a * np.sin(k * phase + 2 * np.pi * rng.random()) for k, a in enumerate(strengths.tolist(), 1)
  )
  x += voice.noise * rng.standard_normal(len(t))
  x *= np.clip(np.minimum(t / 0.01, (seconds - t) / 0.04), 0, 1)  # begins in 10 ms, ends in 40
  return np.int16(np.rint(x / np.abs(x).max() * rng.uniform(0.3, 0.9) * 32767))


def open_splits(data: Tones) -> dict[str, Sounds]:
  """Splits train, eval and test, each of a seed of its own."""
  held_out = max(data.copies // 4, 1)
  copies = {"train": data.copies, "eval": held_out, "test": held_out}
  return {name: _split(data, name, seed, n) for seed, (name, n) in enumerate(copies.items())}


def _split(data: Tones, name: str, seed: int, copies: int) -> Sounds:
  rng, voices, contours = np.random.default_rng(seed), VOICES[: data.speakers], tuple(CONTOURS)
  kinds = [
    (v, c, k) for v in range(len(voices)) for c in range(len(contours)) for k in range(copies)
  ]
  kinds = rng.permutation(kinds)  # so that the first few are of all kinds
  draw = lambda: data.seconds * rng.uniform(0.5, 1)
  return Sounds(
    [tone(voices[v], contours[c], rate=data.rate, seconds=draw(), rng=rng) for v, c, _ in kinds],
    name=f"tones {name}",
    rate=data.rate,
    files=[f"{voices[v].name}, {contours[c]}, {k}" for v, c, k in kinds],
    speaker=kinds[:, 0],
    label=kinds[:, 1],
    speakers=[voice.name for voice in voices],
    class_names=contours,
  )
