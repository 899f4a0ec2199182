"""Drawing sound from codes, some utterances at a time, and showing it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from train.codes.tokenizer import Coder, Tokenizer
from train.task import Batch
from vqlab.autoencoders import vqvae_audio
from vqlab.autoencoders.vqvae_audio import AudioVQVAE

_AT_ONCE = 32  # utterances; what a position costs is mostly the same for one and for so many
_PAUSE = 0.25  # seconds


def encode(coder: Coder, trained: Tokenizer, batch: Batch) -> np.ndarray:
  """The codes i32[N, S] of sounds, some at a time."""
  encode = jax.jit(
    lambda trained, sound, speaker: coder.encode(
      trained, coder.inputs({"sound": sound, "speaker": speaker})
    )[0]
  )
  size, parts = min(_AT_ONCE, len(batch["sound"])), []
  for first in range(0, len(batch["sound"]), size):
    rows = np.minimum(np.arange(first, first + size), len(batch["sound"]) - 1)
    parts.append(np.asarray(encode(trained, batch["sound"][rows], batch["speaker"][rows])))
  return np.concatenate(parts)[: len(batch["sound"])]


def speak(
  model: AudioVQVAE,
  trained: Tokenizer,
  codes: np.ndarray,
  speakers: np.ndarray,
  *,
  seed: int = 0,
  first_index: int = 0,
  **options: Any,
) -> np.ndarray:
  """The sound i16[N, S * hop] of codes i32[N, S] in the voices of speakers i32[N].

  The same for a seed and an utterance's index, whatever it is drawn with.

  Args:
    options: temperature, top_k, top_p.
  """
  size, parts = min(_AT_ONCE, len(codes)), []
  draw = jax.jit(functools.partial(vqvae_audio.speak, model=model, **options))
  for first in range(0, len(codes), size):
    rows = np.minimum(np.arange(first, first + size), len(codes) - 1)  # one compiled shape
    part = draw(
      jax.random.key(seed),
      params=trained.params,
      codebooks=trained.codebooks,
      codes=(np.asarray(codes)[rows],),
      speakers=np.asarray(speakers)[rows],
      first_index=np.uint32(first_index + first),
    )
    parts.append(np.asarray(part))
  samples = np.concatenate(parts)[: len(codes)]
  return np.int16(np.clip(np.rint(samples * 32768), -32768, 32767))


def shown(
  name: str,
  rows: Sequence[Sequence[np.ndarray]],
  rate: int,
  names: Sequence[str],
  titles: Sequence[str],
) -> dict[str, Any]:
  """A report's files: a sheet of spectrograms, and all of it to listen to, row by row.

  Args:
    rows: sounds i16[T], those that are to be compared side by side.
  """
  from train.audio.pictures import spectrogram_sheet

  columns = list(zip(*rows, strict=True))
  pause = np.zeros(int(rate * _PAUSE), np.int16)
  sounds = [part for row in rows for sound in row for part in (sound, pause)]
  return {
    f"{name}.png": spectrogram_sheet(columns, rate=rate, titles=titles, names=names),
    f"{name}.wav": (rate, np.concatenate(sounds)),
  }
