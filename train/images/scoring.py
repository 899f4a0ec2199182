"""Judging samples against held-out real images: the verb score."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from train.codes import generation as drawing
from train.errors import BadInput
from train.fields import field
from train.images import judge, rejection
from train.images.classify import in_batches
from train.images.generating import Drawing
from train.report import console
from train.tables import table
from train.task import reported
from vqlab import features, generation, interop, metrics


@dataclasses.dataclass(frozen=True)
class Score(Drawing):
  """Judge samples against held-out real images, as many for every fraction that is kept.

  FID, precision and recall are taken in the features of the classifier, or of Inception-v3.

  The class asked for is judged by a regression on real images, IS by the classifier's classes.
  """

  classifier: pathlib.Path = tyro.MISSING
  """Folder of a classifier's run."""
  keep: tuple[float, ...] = field((1.0, 0.5, 0.25), least=0.001, most=1)
  """Fractions: of what is drawn for a class, what the classifier recognizes best."""
  num: int = field(1000, least=10)
  """Samples that are kept; at most as many held-out images are compared with."""
  inception: pathlib.Path | None = None
  """Weights of the Inception-v3 for FID: a state dict as .npz, or as .pth where torch is there."""
  accuracy_steps: int = field(0, least=0)
  """Steps of a classifier trained on the samples and tested on real images (CAS); 0: none."""
  judge_size: int = field(8, least=1)
  """Side to which images are shrunk for the regression that judges classes."""

  def run(self) -> None:
    if not self.keep:
      raise BadInput("--keep is empty; give at least one fraction, such as 1")
    done, generator = self.load()
    if not generator.num_classes:
      raise BadInput(f"{self.dir}: its prior knows no classes to be recognized")
    height, width, _ = done.about["image_shape"]
    if self.judge_size > min(height, width):
      raise BadInput(f"--judge_size is {self.judge_size}; images are {height}x{width}")
    train, held_out = done.splits["train"], reported(done.splits)
    classifier = rejection.load_classifier(self.classifier, done.about)
    features_of = _inception(self.inception) if self.inception else classifier.features

    labels = np.arange(self.num, dtype=np.int32) % generator.num_classes
    drawn_labels = rejection.draws(labels, min(self.keep))
    console.print(f"drawing {len(drawn_labels):,} samples ...")
    key = jax.random.key(self.seed)
    drawn = drawing.draw(generator, key, drawn_labels, **self.options()).outputs
    logits = classifier.logits(drawn)
    scores = np.asarray(generation.class_scores(logits, drawn_labels))

    real = held_out.read(np.arange(min(len(held_out), self.num)), None)
    real_features = features_of(real["image"])
    sets = {
      f"keep {keep:g}": rejection.select(scores, drawn_labels, labels, keep)
      for keep in sorted(self.keep, reverse=True)
    }
    lines = table(
      f"{self.num} samples a line against {len(real_features)} held-out images",
      *("samples", "class, by judge", "FID", "IS", "precision", "recall"),
      *(["CAS top 1"] if self.accuracy_steps else []),
    )
    regression = judge.Judge(train, held_out, size=self.judge_size)
    for name, kept in sets.items():
      accuracy = regression.sample_accuracy(drawn[kept], labels)
      figures = _compare(real_features, features_of(drawn[kept]), logits[kept])
      if self.accuracy_steps:
        result = features.classification_accuracy_score(
          jax.random.key(0),
          *map(jnp.asarray, (drawn[kept], labels, real["image"], real["label"])),
          model=classifier.model,
          num_steps=self.accuracy_steps,
        )
        figures.append(f"{float(result.top1):.1%}")
      lines.add_row(name, f"{accuracy:.1%}", *figures)
    # What real images score: the best that can be expected.
    figures = _compare(real_features, real_features, classifier.logits(real["image"]))[:2]
    lines.add_row("held-out", f"{regression.accuracy:.1%}", *figures)
    console.print(lines)


def _compare(real: np.ndarray, samples: np.ndarray, logits: np.ndarray) -> list[str]:
  """FID, Inception Score (by the classifier's logits), precision and recall (k = 3)."""
  of = {"reference": jnp.asarray(real.mean(axis=0))}
  moments = [metrics.moments(metrics.feature_sums(x, **of), **of) for x in (real, samples)]
  fid = metrics.frechet_distance(*moments).distance
  quality = metrics.inception_score(metrics.class_sums(jnp.asarray(logits)))
  manifolds = metrics.precision_recall(jnp.asarray(real), jnp.asarray(samples))
  return [
    f"{fid:.3f}",
    f"{float(quality.mean):.2f}",
    f"{float(manifolds.precision):.3f}",
    f"{float(manifolds.recall):.3f}",
  ]


def _inception(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """The 2,048 pooled features of the Inception-v3 whose weights are in a file."""
  try:
    variables = interop.from_torch("inception_v3", _state_dict(path))
  except ValueError as error:
    raise BadInput(f"--inception {path}: {error}") from None
  model = features.InceptionV3()

  @jax.jit
  def apply(variables: dict, images: jax.Array) -> jax.Array:
    return model.apply(variables, features.inception_images(images), method="features")

  return lambda images: in_batches(lambda part: apply(variables, part), images, 50)


def _state_dict(path: pathlib.Path) -> dict[str, np.ndarray]:
  if not path.is_file():
    raise BadInput(f"--inception {path}: no such file; give a state dict as .npz or .pth")
  try:
    if path.suffix == ".npz":
      with np.load(path) as arrays:
        return dict(arrays)
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # PyTorch is missing, or whatever a damaged file makes it raise
    reason = (str(error).splitlines() or [repr(error)])[0][:200]
    raise BadInput(f"--inception {path} can't be read: {reason}") from None
