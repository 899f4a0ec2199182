"""Drawing sound from codes, some utterances at a time, and showing it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from train.codes.tokenizer import Coder, Tokenizer
from train.task import Batch
from vqlab import priors
from vqlab.autoencoders import vqvae_audio
from vqlab.autoencoders.vqvae_audio import AudioVQVAE
from vqlab.nn.mu_law import inverse_mu_law

_AT_ONCE = 32  # utterances; what a position costs is mostly the same for one and for so many
_BYTES = 2**30  # of what the decoder keeps of its conditions
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
  size, parts = min(_at_once(model, codes.shape[1]), len(codes)), []
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
  return _int16(np.concatenate(parts)[: len(codes)])


def speak_each(
  model: AudioVQVAE,
  trained: Tokenizer,
  codes: Sequence[np.ndarray],
  lengths: Sequence[int],
  *,
  speaker: int = 0,
  seed: int = 0,
  **options: Any,
) -> list[np.ndarray]:
  """The sounds i16[T] of codes i32[S], of any lengths T <= S * hop, in the voice of one speaker.

  A sound depends on its codes and on how many are before it, but on none of the others.

  Args:
    options: temperature, top_k, top_p.
  """
  conditions = jax.jit(functools.partial(vqvae_audio.decoder_conditions, model))
  size, sounds = _at_once(model, max(map(len, codes))), []
  for first in range(0, len(codes), size):
    part, ends = codes[first : first + size], lengths[first : first + size]
    voices = np.full(len(part), speaker, np.int32)
    local = np.zeros((len(part), max(map(len, part)), model.local_features), model.dtype)
    for row, c in enumerate(part):
      cond = conditions(trained.params, trained.codebooks, (c[None],), voices[:1])
      local[row, : len(c)] = cond.local[0]
    drawn = priors.sample(
      jax.random.key(seed),
      model.decoder(),
      trained.params["wavenet"],
      (len(part), max(ends)),
      cond=priors.SequenceConditions((voices,) if model.num_speakers else (), local),
      first_index=first,
      **options,
    )
    samples = _int16(np.asarray(inverse_mu_law(drawn, num_codes=model.num_sample_codes)))
    sounds += [row[:end] for row, end in zip(samples, ends, strict=True)]
  return sounds


def in_a_row(sounds: Sequence[np.ndarray], rate: int) -> np.ndarray:
  """i16[T] of sounds, a pause after each."""
  pause = np.zeros(int(rate * _PAUSE), np.int16)
  return np.concatenate([part for sound in sounds for part in (sound, pause)])


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
  return {
    f"{name}.png": spectrogram_sheet(columns, rate=rate, titles=titles, names=names),
    f"{name}.wav": (rate, in_a_row([sound for row in rows for sound in row], rate)),
  }


def _at_once(model: AudioVQVAE, frames: int) -> int:
  """How many utterances of so many codes the decoder keeps its conditions of: a gate and a signal
  of every channel and layer at every code."""
  each = frames * model.num_layers * 2 * model.decoder_channels * np.dtype(np.float32).itemsize
  return min(_AT_ONCE, max(1, _BYTES // each))


def _int16(samples: np.ndarray) -> np.ndarray:
  return np.int16(np.clip(np.rint(samples * 32768), -32768, 32767))
