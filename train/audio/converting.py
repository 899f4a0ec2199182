"""What becomes of speech in codes: how near it comes back, and what it is in another's voice.

Held-out utterances are encoded and spoken again, in their own voice and in another's. How near the
first is to what it was is told by the log-spectral distance, beside two that know little: the mean
spectrum of the training sounds over and over, and samples in a mu law of fewer bits, and fewer of
them, at as many bits a second as the codes have. Classifiers that have heard real speech alone say
who speaks and what is said.
"""

import dataclasses
import functools
import itertools
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train import parallel
from train.audio import speaking
from train.audio.classify import SoundClassifierStage, full_scale_one, logits_of
from train.audio.intervals import share
from train.audio.sounds import Chunks, Sounds
from train.audio.vqvae import AudioVQVAEStage
from train.config import Stage
from train.data import batches_of
from train.errors import Preempted
from train.fields import field
from train.report import read_npz, write_npz, write_report
from train.task import Finished, Run, Work, reported
from vqlab import features, metrics
from vqlab.nn.mu_law import inverse_mu_law, mu_law

_SHOWN = 12  # conversions on the sheet
_AT_ONCE = 64  # sounds
_MU_LAW_BITS = range(1, 9)


@dataclasses.dataclass(frozen=True)
class ConversionStage(Stage):
  """Speaks held-out utterances in their own and in other voices, and has them judged."""

  length: int = field(16000, least=1)
  """Samples of an utterance, longer ones are cut."""
  most: int = field(1000, least=1)
  """Utterances at most."""
  temperature: float = field(1.0, least=0)
  """Of the samples."""

  def make(self, run: Run) -> Work:
    tokenizer, about, judges = run.the(AudioVQVAEStage), run.about, {}
    if len(about["speakers"]) < 2 or not tokenizer.stage.tell_speaker:
      raise ValueError("voices can't be changed: the decoder is told of no speakers")
    for name, done in run.stages.items():
      if isinstance(done.stage, SoundClassifierStage):
        if done.stage.hears in judges:
          raise ValueError(f"{name} is the second judge of who or what is heard; one each is taken")
        judges[done.stage.hears] = done
    coder = tokenizer.stage.coder(about, self.length)
    bits = about["rate"] / coder.model.hop * math.log2(coder.num_codes)
    if not bits:
      raise ValueError("the tokenizer has a single code, which says nothing")
    from train.audio import files  # noqa: F401 (says here what is not installed, not at the end)

    def work(folder: pathlib.Path, stop: Callable[[], bool]) -> None:
      if jax.process_index() == 0:
        converted(folder, stop)
      parallel.wait_for_all("conversions judged")

    def converted(folder: pathlib.Path, stop: Callable[[], bool]) -> None:
      split = reported(run.splits)
      rows = np.linspace(0, len(split) - 1, min(self.most, len(split)), dtype=int)
      batch = Chunks(split, self.length, whole=True).read(rows, None)
      lengths, source, others = batch["length"], batch["speaker"], len(about["speakers"])
      target = np.int32((source + 1 + np.arange(len(rows)) % (others - 1)) % others)
      codes = speaking.encode(coder.model, tokenizer.learned, batch)
      sounds = {"real": batch["sound"]}
      for name, voice in (("own", source), ("other", target)):
        if stop():
          raise Preempted("stopped between two voices")
        key = jax.random.key(run.config.seed)
        options = {"key": key, "temperature": self.temperature}
        spoken = speaking.speak(coder.model, tokenizer.learned, codes, voice, **options)
        spoken = np.stack(spoken)[:, : self.length]
        sounds[name] = np.where(np.arange(self.length) < lengths[:, None], spoken, 0)
      found = distances(sounds, lengths, run.splits["train"], about["rate"], bits)
      for hears, judge in judges.items():
        for name, x in sounds.items():
          found[f"{hears}_{name}"] = verdicts(judge, x)
      found |= {"speaker": source, "target": target, "label": batch["label"], "row": rows}
      write_npz(folder / "judged.npz", **found)
      write_report(folder, self.shown(run, sounds, found, lengths))

    return Work(
      run=work,
      open=lambda folder: read_npz(folder / "judged.npz"),
      figures=figures_of,
      what=lambda: "held-out utterances in their own voice and in another's",
      files=("conversions.png", "conversions.wav"),
    )

  def shown(
    self, run: Run, sounds: dict[str, np.ndarray], found: dict[str, np.ndarray], lengths: np.ndarray
  ) -> dict[str, Any]:
    """Some utterances of every kind, as they were and as they are spoken."""
    rows = np.linspace(0, len(lengths) - 1, min(_SHOWN, len(lengths)), dtype=int)
    speakers, classes = run.about["speakers"], run.about["class_names"]
    names = []
    for i in rows:
      said = f"{classes[found['label'][i]]}: " if classes else ""
      names.append(f"{said}{speakers[found['speaker'][i]]} -> {speakers[found['target'][i]]}")
    cells = [[sounds[kind][i, : lengths[i]] for kind in ("real", "own", "other")] for i in rows]
    titles = ("original", "reconstruction", "in the other's voice")
    return speaking.shown("conversions", cells, run.about["rate"], names, titles)


def verdicts(judge: Finished, sounds: np.ndarray) -> np.ndarray:
  """i32[N]: what a classifier takes each of the sounds i16[N, T] for."""
  logits = logits_of(judge.stage, judge.model, judge.learned, sounds)
  return np.int32(logits.argmax(1))


def distances(
  sounds: dict[str, np.ndarray], lengths: np.ndarray, train: Sounds, rate: int, bits: float
) -> dict[str, np.ndarray]:
  """Log-spectral distances from the real sounds, f32[N] each.

  Args:
    sounds: "real" and "own", i16[N, T].
    train: whose mean spectrum is one baseline.
    bits: a second, what the other one has.
  """
  frames = frames_of(rate)
  mean = mean_spectrum(train, sounds["real"].shape[1], frames)

  @jax.jit
  def one(real: jax.Array, others: list[jax.Array], lengths: jax.Array) -> list[jax.Array]:
    """Of some sounds the distances of others, and of the mean spectrum."""
    where = jnp.arange(0, real.shape[1], frames["hop"]) < lengths[:, None]
    found = [metrics.log_spectral_distance(real, x, lengths=lengths, **frames) for x in others]
    levels = metrics.decibels(real, **frames)
    return [*found, metrics.spectral_distance(levels, mean, where=where)]

  parts = []
  for first in range(0, len(lengths), _AT_ONCE):
    some = slice(first, first + _AT_ONCE)
    real, own = (np.asarray(full_scale_one(sounds[k][some], np.float32)) for k in ("real", "own"))
    others = [own, *(crushed(real, rate, n, bits) for n in _MU_LAW_BITS)]
    parts.append(one(real, others, lengths[some]))
  own, *by_bits, mean = (np.concatenate(x) for x in zip(*parts, strict=True))
  best = int(np.argmin([x.mean() for x in by_bits]))
  return {
    "distance_own": own,
    "distance_mean_spectrum": mean,
    "distance_mu_law": by_bits[best],
    "mu_law_bits": np.int32(_MU_LAW_BITS[best]),
  }


def frames_of(rate: int) -> dict[str, int]:
  """Those that distances are of."""
  window = features.frame_length(rate)
  return {"window": window, "hop": window // 4}


def mean_spectrum(sounds: Sounds, length: int, frames: dict[str, int]) -> np.ndarray:
  """The mean of all frames in dB, f32[N]: of constant spectra that which is nearest to them."""
  levels = jax.jit(functools.partial(metrics.decibels, **frames))
  chunks, total, count = Chunks(sounds, length, whole=True), 0.0, 0
  for batch in batches_of(chunks, range(len(chunks)), _AT_ONCE):
    found = levels(np.asarray(full_scale_one(batch["sound"], np.float32)))
    real = np.arange(0, length, frames["hop"]) < batch["length"][:, None]
    real &= batch["mask"][:, None]
    total, count = total + np.asarray(found, np.float64)[real].sum(0), count + real.sum()
  return np.float32(total / count)


def crushed(sounds: np.ndarray, rate: int, bits: int, bits_per_second: float) -> np.ndarray:
  """Sounds f[N, T] as samples of `bits` in a mu law, and of so many that they take this rate."""
  from train.audio.files import resample

  low = bits_per_second / bits
  few = np.stack([resample(x, rate=rate, to=low) for x in sounds])
  codes = mu_law(few, num_codes=2**bits)
  back = np.asarray(inverse_mu_law(codes, num_codes=2**bits))
  back = np.stack([resample(x, rate=low, to=rate) for x in back])[:, : sounds.shape[1]]
  return np.pad(back, ((0, 0), (0, sounds.shape[1] - back.shape[1])))


def figures_of(found: dict[str, np.ndarray]) -> dict[str, float]:
  """Mean distances in dB, and how often each kind of sound is heard as it should be."""
  names = ("distance_own", "distance_mean_spectrum", "distance_mu_law")
  figures = {name: float(found[name].mean()) for name in names}
  figures["mu_law_bits"] = float(found["mu_law_bits"])
  for hears, kind in itertools.product(("speaker", "label"), ("real", "own", "other")):
    if f"{hears}_{kind}" in found:
      wanted = found["target" if (hears, kind) == ("speaker", "other") else hears]
      right = found[f"{hears}_{kind}"] == wanted
      figures |= share(f"{hears}_{kind}", int(right.sum()), len(right))
  return figures
