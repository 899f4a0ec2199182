"""Drawing sound from codes, some utterances at a time, and showing it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from train.audio.classify import full_scale_one
from train.codes.tokenizer import Tokenizer
from train.task import Batch
from vqlab import priors
from vqlab.autoencoders import vqvae_audio
from vqlab.autoencoders.vqvae_audio import AudioVQVAE, Sound
from vqlab.nn.mu_law import inverse_mu_law

AT_ONCE = 32  # utterances; what a position costs is mostly the same for one and for so many
_PAUSE = 0.25  # seconds


def encode(model: AudioVQVAE, trained: Tokenizer, batch: Batch) -> np.ndarray:
  """The codes i32[N, S] of sounds, some at a time."""
  size, parts = min(AT_ONCE, len(batch["sound"])), []
  for first in range(0, len(batch["sound"]), size):
    rows = np.minimum(np.arange(first, first + size), len(batch["sound"]) - 1)
    parts.append(np.asarray(_encode(model, trained, batch["sound"][rows])))
  return np.concatenate(parts)[: len(batch["sound"])]


@functools.partial(jax.jit, static_argnums=0)
def _encode(model: AudioVQVAE, trained: Tokenizer, sounds: jax.Array) -> jax.Array:
  return vqvae_audio.encode(model, *trained, Sound(full_scale_one(sounds, model.param_dtype)))[0]


def speak(
  model: AudioVQVAE,
  trained: Tokenizer,
  codes: Sequence[np.ndarray],
  speakers: Sequence[int],
  *,
  lengths: Sequence[int] | None = None,
  key: jax.Array,
  first_index: int = 0,
  **options: Any,
) -> list[np.ndarray]:
  """The sounds i16[T] of codes i32[S] in the voices of speakers, some at a time.

  The same for a key and a sound's index, whatever else is drawn.

  Args:
    codes: of each sound, of any lengths.
    lengths: T of each, at most S * hop, which is the default.
    options: temperature, top_k, top_p.
  """
  lengths = [len(c) * model.hop for c in codes] if lengths is None else lengths
  conditions = jax.jit(functools.partial(vqvae_audio.decoder_conditions, model))
  size, sounds = min(AT_ONCE, len(codes)), []
  for first in range(0, len(codes), size):
    rows = np.minimum(np.arange(first, first + size), len(codes) - 1)  # one compiled shape
    voices = np.asarray(speakers, np.int32)[rows]
    # Each sound's alone: a convolution over codes that fill up a shorter one would reach into it.
    longest = max(len(codes[i]) for i in rows)
    local = np.zeros((size, longest, model.local_features), model.dtype)
    for row, i in enumerate(rows):
      cond = conditions(trained.params, trained.codebooks, (codes[i][None],), voices[row, None])
      local[row, : len(codes[i])] = cond.local[0]
    drawn = priors.sample(
      key,
      model.decoder(),
      trained.params["wavenet"],
      (size, max(lengths[i] for i in rows)),
      cond=priors.SequenceConditions((voices,) if model.num_speakers else (), local),
      first_index=first_index + first,
      **options,
    )
    samples = np.asarray(inverse_mu_law(drawn, num_codes=model.num_sample_codes))
    samples = np.int16(np.clip(np.rint(samples * 32768), -32768, 32767))
    sounds += [row[: lengths[i]] for row, i in zip(samples, rows, strict=True)]
  return sounds[: len(codes)]


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
