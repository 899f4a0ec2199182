"""Trains a small classifier of sounds: it judges whose voice and what word others' sounds have."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from train import learn
from train.config import TrainingStage
from train.data.pipeline import batches_of
from train.fields import field
from train.judging import (
  Sums,
  confusion_of,
  confusion_picture,
  figures_of,
  in_batches,
  sums_of,
)
from train.learn import Learned, State
from train.task import Batch, Report, Run, Splits, Task, reported
from vqlab.features import SoundClassifier, frame_length


@dataclasses.dataclass(frozen=True)
class SoundClassifierStage(TrainingStage):
  """A small residual network over log-mel spectrograms, see `vqlab.features.SoundClassifier`."""

  hears: Literal["speaker", "label"] = field("label")
  """Whether it tells who speaks or what is said."""
  chunk: int = field(16000, least=1)
  """Samples of an utterance that it hears, from the start; zeros follow those of shorter ones."""
  widths: tuple[int, ...] = field((32, 64, 128), least=8)
  """Channels of each stage, multiples of 8; each but the first halves the map."""
  blocks: int = field(2, least=1)
  """Residual blocks a stage."""
  dropout: float = field(0.1, least=0, most=0.99)
  window: int = field(0, least=0)
  """Samples of a spectrogram's frame, even; 0: about 32 ms."""
  hop: int = field(0, least=0)
  """Samples from frame to frame; 0: a quarter of a frame."""
  num_mels: int = field(40, least=8)
  """Mel filters of a frame."""
  gain: float = field(6.0, least=0, most=60)
  """Training sounds are made louder or softer by up to so many dB."""

  def make(self, run: Run) -> Task:
    names = names_of(run.about, self.hears)
    if len(names) < 2:
      raise ValueError(
        f"hears is {self.hears!r}, and the sounds have {len(names)} of these; at least 2 are needed"
      )
    window = self.window or frame_length(run.about["rate"])
    hop = self.hop or max(window // 4, 1)
    if self.chunk <= 7 * hop:
      raise ValueError(
        f"chunk is {self.chunk} and hop {hop}; the network needs 8 frames, a chunk of "
        f"{7 * hop + 1} at least"
      )
    model = SoundClassifier(
      num_classes=len(names),
      rate=run.about["rate"],
      window=window,
      hop=hop,
      num_mels=self.num_mels,
      widths=self.widths,
      blocks=self.blocks,
      dropout=self.dropout,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )
    optimizer = learn.optimizer_of(self)

    def init(key: jax.Array, context: Any) -> State:
      sounds = jnp.zeros((1, self.chunk), self.param_dtype)
      return learn.initial(optimizer, model.init(key, sounds)["params"])

    def loss(params, rest, context, batch, key, *, axis_name):
      def one(sound, length, key):
        own, drop = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        sound = moved(sound, length, own, gain=self.gain)
        return model.apply({"params": params}, sound[None], train=True, rngs={"dropout": drop})[0]

      sounds, keys = full_scale_one(batch["sound"], self.param_dtype), learn.keys_of(key, batch)
      logits = jax.vmap(one)(sounds, batch["length"], keys)
      sums = sums_of(logits, batch, label=self.hears)
      return sums.nats, (rest, {"accuracy": sums.right})

    def evaluate(learned: Learned, context: Any, batch: Batch) -> Sums:
      return sums_of(_logits(model, learned.params, batch["sound"]), batch, label=self.hears)

    def report(learned: Learned, examples: Splits) -> Report:
      """What is taken for what, over all the split."""
      split, labels, found = reported(examples), [], []
      for batch in batches_of(split, range(len(split)), self.eval_batch_size or self.batch_size):
        logits = _compiled(model, learned.params, batch["sound"])
        labels.append(batch[self.hears][batch["mask"]])
        found.append(np.asarray(logits).argmax(1)[batch["mask"]])
      counts = confusion_of(np.concatenate(labels), np.concatenate(found), len(names))
      return Report(files={"confusion.png": confusion_picture(counts, names, what="utterances")})

    def examples() -> Splits:
      from train.audio.sounds import Chunks

      return {name: Chunks(x, self.chunk, whole=True) for name, x in run.splits.items()}

    number = jax.ShapeDtypeStruct((), np.int32)
    return Task(
      init=init,
      step=learn.step_of(loss, optimizer, accumulate=self.accumulate),
      evaluate=evaluate,
      figures=figures_of,
      best="-cross_entropy",
      examples=examples,
      spec={
        "sound": jax.ShapeDtypeStruct((self.chunk,), np.int16),
        "length": number,
        "speaker": number,
        "label": number,
      },
      report=report,
      model=model,
    )


def names_of(about: dict[str, Any], hears: str) -> list[str]:
  """The names of what a classifier tells apart."""
  return list(about["speakers" if hears == "speaker" else "class_names"])


def logits_of(
  stage: SoundClassifierStage, model: SoundClassifier, learned: Learned, sounds: np.ndarray
) -> np.ndarray:
  """What a trained classifier thinks of sounds: i16[N, T] -> logits f32[N, classes].

  64 at a time, compiled once. Sounds are cut at the stage's `chunk`, or followed by zeros.
  """
  sounds = sounds[:, : stage.chunk]
  sounds = np.pad(sounds, ((0, 0), (0, stage.chunk - sounds.shape[1])))
  return in_batches(functools.partial(_compiled, model, learned.params), sounds, 64)


def full_scale_one(sounds: jax.Array, dtype: Any) -> jax.Array:
  """i16[...] -> floats in [-1, 1), float32 at least."""
  return sounds.astype(jnp.promote_types(dtype, jnp.float32)) / 32768


def moved(sound: jax.Array, length: jax.Array, key: jax.Array, *, gain: float) -> jax.Array:
  """A sound [T] at a random place among its zeros, and by up to `gain` dB louder or softer.

  Args:
    length: i32[], real samples; zeros follow them.
  """
  where, how = jax.random.split(key)
  start = jax.random.randint(where, (), 0, len(sound) - length + 1, jnp.int32)
  factor = 10 ** (jax.random.uniform(how, (), sound.dtype, -gain, gain) / 20)
  return jnp.roll(sound, start) * factor


def _logits(model: SoundClassifier, params: dict, sounds: jax.Array) -> jax.Array:
  return model.apply({"params": params}, full_scale_one(sounds, model.param_dtype))


_compiled = jax.jit(_logits, static_argnums=0)
