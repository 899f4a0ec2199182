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
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.audio import speaking
from train.audio.classify import SoundClassifierStage, full_scale_one, heard
from train.audio.intervals import share
from train.audio.sounds import Chunks, Sounds
from train.audio.vqvae import AudioVQVAEStage
from train.config import Stage
from train.errors import Damaged, Preempted
from train.fields import field
from train.report import write_npz, write_report
from train.task import Finished, Run, Work, reported
from vqlab import metrics
from vqlab.nn.mu_law import inverse_mu_law, mu_law

HOP = 64  # samples from frame to frame, the distances' default
_SHOWN = 12  # conversions on the sheet
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
    tokenizer = run.the(AudioVQVAEStage)
    judges = {
      done.stage.hears: done
      for done in run.stages.values()
      if isinstance(done.stage, SoundClassifierStage)
    }
    if len(run.about["speakers"]) < 2 or not tokenizer.stage.tell_speaker:
      raise ValueError("voices can't be changed: the decoder is told of no speakers")

    def work(folder: pathlib.Path, stop: Callable[[], bool]) -> None:
      split = reported(run.splits)
      rows = np.linspace(0, len(split) - 1, min(self.most, len(split)), dtype=int)
      batch = Chunks(split, self.length, whole=True).read(rows, None)
      real, lengths, source = batch["sound"], batch["length"], batch["speaker"]
      others = len(run.about["speakers"])
      target = np.int32((source + 1 + np.arange(len(rows)) % (others - 1)) % others)
      model, trained = tokenizer.model, tokenizer.learned
      coder = tokenizer.stage.coder(run.about, self.length)
      codes = speaking.encode(coder, trained, batch)
      sounds = {"real": real}
      for name, voice in (("own", source), ("other", target)):
        if stop():
          raise Preempted("stopped between two voices")
        options = {"seed": run.config.seed, "temperature": self.temperature}
        spoken = np.stack(speaking.speak(model, trained, codes, voice, **options))
        spoken = spoken[:, : self.length]
        sounds[name] = np.where(np.arange(self.length) < lengths[:, None], spoken, 0)
      bits = run.about["rate"] / model.hop * np.log2(coder.num_codes)
      found = distances(sounds, lengths, run.splits["train"], run.about["rate"], bits)
      for hears, judge in judges.items():
        for name, x in sounds.items():
          found[f"{hears}_{name}"] = verdicts(judge, x)
      found |= {"speaker": source, "target": target, "label": batch["label"], "row": rows}
      write_npz(folder / "judged.npz", **found)
      write_report(folder, self.shown(run, sounds, found, lengths))

    return Work(
      run=work,
      open=lambda folder: opened(folder / "judged.npz"),
      figures=_figures,
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
  logits = heard(judge.stage, judge.model, judge.learned, sounds)
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
  real, own = (np.asarray(full_scale_one(sounds[k], np.float32)) for k in ("real", "own"))
  distance = functools.partial(jax.jit(metrics.log_spectral_distance), jnp.asarray(real))
  found = {"distance_own": distance(own, lengths=lengths)}
  where = np.arange(0, real.shape[1], HOP) < lengths[:, None]
  mean = mean_spectrum(train, real.shape[1])
  levels = jax.jit(metrics.decibels)(real)
  found["distance_mean_spectrum"] = metrics.spectral_distance(levels, mean, where=where)
  by_bits = {n: distance(crushed(real, rate, n, bits), lengths=lengths) for n in _MU_LAW_BITS}
  best = min(by_bits, key=lambda n: float(by_bits[n].mean()))
  found |= {"distance_mu_law": by_bits[best], "mu_law_bits": np.int32(best)}
  return {name: np.asarray(x) for name, x in found.items()}


def mean_spectrum(sounds: Sounds, length: int) -> np.ndarray:
  """The mean of all frames in dB, f32[N]: of constant spectra that which is nearest to them."""
  levels, chunks = jax.jit(metrics.decibels), Chunks(sounds, length, whole=True)
  total, count = 0.0, 0
  for first in range(0, len(chunks), 64):
    batch = chunks.read(np.minimum(np.arange(first, first + 64), len(chunks) - 1), None)
    found = levels(np.asarray(full_scale_one(batch["sound"], np.float32)))
    real = np.arange(0, length, HOP) < batch["length"][:, None]
    real[len(chunks) - first :] = False  # what fills up the last batch
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


def opened(path: pathlib.Path) -> dict[str, np.ndarray]:
  """What was found of every utterance.

  Raises:
    Damaged: it is missing or can't be read.
  """
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:  # there is hardly a kind that zips do not raise
    raise Damaged(f"{path} can't be read ({error}); run fit again") from None


def _figures(found: dict[str, np.ndarray]) -> dict[str, float]:
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
