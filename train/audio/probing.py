"""What codes know of who speaks and of what is said, by linear probes, beside what sound knows.

Of frames: the code at a position, one of K, against the log-mel spectrum centred on its first
sample. Of utterances: how often each code occurs, against the means and deviations of the log-mel
spectra. Probes are trained
on the training sounds and asked for those that figures are reported on.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train import parallel
from train.audio import speaking
from train.audio.classify import full_scale_one
from train.audio.intervals import grouped_share, share
from train.audio.sounds import Chunks, Sounds
from train.audio.vqvae import AudioVQVAEStage
from train.config import Stage
from train.errors import Preempted
from train.fields import field
from train.report import read_npz, write_npz, write_report
from train.task import Run, Work, reported
from vqlab import features

_FRAMES = 60_000  # that probes of spectra are trained on
_AT_ONCE = 64  # sounds


class Told(NamedTuple):
  """Sounds as probes are told of them."""

  codes: np.ndarray  # i32[M] of all frames
  mels: np.ndarray  # f32[M, bands] of the same frames
  sound: np.ndarray  # i64[M], whose they are
  labels: dict[str, np.ndarray]  # i32[N] of the sounds, by name


@dataclasses.dataclass(frozen=True)
class ProbeStage(Stage):
  """Linear probes of codes, of their histograms, and of log-mel spectra."""

  length: int = field(16000, least=1)
  """Samples of an utterance, longer ones are cut."""
  num_mels: int = field(24, least=1)
  """Bands of the spectra."""
  most: int = field(5000, least=1)
  """Sounds of each split at most."""
  steps: int = field(2000, least=1)
  """Of each probe's training."""

  def make(self, run: Run) -> Work:
    done, sizes = run.the(AudioVQVAEStage), {"speaker": len(run.about["speakers"])}
    sizes["label"] = run.about["num_classes"]
    names = {"speaker": run.about["speakers"], "label": run.about["class_names"]}
    sizes = {name: size for name, size in sizes.items() if size > 1}
    if not sizes:
      raise ValueError("the sounds have neither several speakers nor labels to be probed for")
    coder, rate = done.stage.coder(run.about, self.length), run.about["rate"]
    features.mel_filters(rate, self.window(coder.model.hop, rate), self.num_mels)  # if they can be

    def work(folder: pathlib.Path, stop: Callable[[], bool]) -> None:
      if jax.process_index() == 0:
        probe(folder, stop)
      parallel.wait_for_all("probes asked")

    def probe(folder: pathlib.Path, stop: Callable[[], bool]) -> None:
      tell = lambda sounds: self.told(coder, done.learned, sounds, rate)
      train, test = tell(run.splits["train"]), tell(reported(run.splits))
      found = {}
      for name, size in sizes.items():
        if stop():
          raise Preempted("stopped between two probes")
        found |= self.probed(train, test, name, size, coder.num_codes)
      write_npz(folder / "probes.npz", **found)
      from train.audio.pictures import label_map_picture

      pictures = {}
      for name, size in sizes.items():
        counts = np.zeros((coder.num_codes, size), np.int64)
        np.add.at(counts, (test.codes, test.labels[name][test.sound]), 1)
        title = f"What codes go with: {name}"
        pictures[f"codes_by_{name}.png"] = label_map_picture(counts, names[name], title=title)
      write_report(folder, pictures)

    return Work(
      run=work,
      open=lambda folder: read_npz(folder / "probes.npz"),
      figures=figures_of,
      what=lambda: f"linear probes for {' and '.join(sizes)}",
      files=tuple(f"codes_by_{name}.png" for name in sizes),
    )

  def window(self, hop: int, rate: int) -> int:
    """Samples of a spectrum at a code: a frame, or two codes where that is more."""
    return max(features.frame_length(rate), 2 * hop)

  def told(self, coder: Any, trained: Any, sounds: Sounds, rate: int) -> Told:
    rows = np.linspace(0, len(sounds) - 1, min(self.most, len(sounds)), dtype=int)
    hop, chunks = coder.model.hop, Chunks(sounds, self.length, whole=True)
    of = {"rate": rate, "window": self.window(hop, rate), "hop": hop, "num_mels": self.num_mels}
    mel = jax.jit(lambda x: features.log_mel(full_scale_one(x, np.float32), **of))
    codes, mels, lengths, labels = [], [], [], {"speaker": [], "label": []}
    for first in range(0, len(rows), _AT_ONCE):
      batch = chunks.read(rows[first : first + _AT_ONCE], None)
      found = speaking.encode(coder.model, trained, batch)
      real = np.arange(found.shape[1]) * hop < batch["length"][:, None]
      codes.append(found[real])
      mels.append(np.asarray(mel(batch["sound"]))[real])
      lengths.append(real.sum(1))
      for name, values in labels.items():
        values.append(batch[name])
    return Told(
      np.concatenate(codes),
      np.concatenate(mels),
      np.repeat(np.arange(len(rows)), np.concatenate(lengths)),
      {name: np.concatenate(values) for name, values in labels.items()},
    )

  def probed(
    self, train: Told, test: Told, name: str, size: int, num_codes: int
  ) -> dict[str, np.ndarray]:
    """Of every probe whether it is right: of frames as sums over each sound."""
    model = features.LinearClassifier(size)

    def right(x: tuple[np.ndarray, np.ndarray], y: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
      probe = features.fit_probe(
        jax.random.key(0), jnp.asarray(x[0]), jnp.asarray(y[0]), model=model, num_steps=self.steps
      )
      logits = model.apply({"params": probe.params}, (x[1] - probe.center) / probe.scale)
      return np.asarray(logits).argmax(1) == y[1]

    both, found = (train, test), {}
    labels = tuple(told.labels[name] for told in both)
    histograms = tuple(histogram(told, num_codes) for told in both)
    spectra = tuple(means_and_deviations(told) for told in both)
    for kind, x in {"codes": histograms, "sound": spectra}.items():
      found[f"{name}_of_utterance_by_{kind}"] = right(x, labels)
    labels, counts = tuple(told.labels[name][told.sound] for told in both), np.bincount(test.sound)
    # Of a single code the best probe is known: what goes with it most often.
    seen = np.zeros((num_codes, size))
    np.add.at(seen, (train.codes, labels[0]), 1)
    rows = np.random.default_rng(0).permutation(len(train.codes))[:_FRAMES]
    by_kind = {
      "codes": seen.argmax(1)[test.codes] == labels[1],
      "sound": right((train.mels[rows], test.mels), (labels[0][rows], labels[1])),
    }
    for kind, each in by_kind.items():
      sums = np.bincount(test.sound, weights=each)
      found[f"{name}_of_frame_by_{kind}"] = np.stack([sums, counts])
    frequent = np.bincount(test.labels[name], minlength=size).max() / len(test.labels[name])
    frames = np.bincount(labels[1]).max() / len(labels[1])
    return found | {f"{name}_chance": np.array([1 / size, frequent, frames])}


def histogram(told: Told, num_codes: int) -> np.ndarray:
  """The share of each code in every sound, f32[N, K]."""
  counts = np.zeros((len(told.labels["speaker"]), num_codes), np.float32)
  np.add.at(counts, (told.sound, told.codes), 1)
  return counts / counts.sum(1, keepdims=True)


def means_and_deviations(told: Told) -> np.ndarray:
  """Of the spectra of every sound, f32[N, 2 bands]."""
  split = np.split(told.mels, np.flatnonzero(np.diff(told.sound)) + 1)
  return np.stack([np.concatenate([x.mean(0), x.std(0)]) for x in split])


def figures_of(found: dict[str, np.ndarray]) -> dict[str, float]:
  """Accuracies with their intervals, those of frames by sounds drawn anew; and what to expect."""
  figures = {}
  for name, x in found.items():
    if name.endswith("_chance"):
      ends = ("chance", "most_frequent_utterance", "most_frequent_frame")
      what = name.removesuffix("_chance")
      figures |= {f"{what}_{end}": float(value) for end, value in zip(ends, x, strict=True)}
    elif x.ndim == 2:
      figures |= grouped_share(name, *x)
    else:
      figures |= share(name, int(x.sum()), len(x))
  return {name: float(value) for name, value in figures.items()}
