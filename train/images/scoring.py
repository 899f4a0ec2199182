"""Judging samples against held-out real images."""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from train import weights
from train.codes import generation as drawing
from train.errors import BadInput
from train.images import judge, rejection
from train.images.generating import load
from train.images.verbs import Score
from train.judging import in_batches
from train.report import console
from train.tables import table
from train.task import reported
from vqlab import features, generation, interop, metrics


def score(verb: Score) -> None:
  """Prints how samples of every fraction that is kept compare with real images."""
  done, generator = load(verb)
  if not generator.num_classes:
    raise BadInput(f"{verb.dir}: its prior knows no classes to be recognized")
  height, width, _ = done.about["image_shape"]
  if verb.judge_size > min(height, width):
    raise BadInput(f"--judge_size is {verb.judge_size}; images are {height}x{width}")
  train, held_out = done.splits["train"], reported(done.splits)
  classifier = rejection.load_classifier(verb.classifier, done.about)
  features_of = _inception(verb.inception) if verb.inception else classifier.features

  labels = np.arange(verb.num, dtype=np.int32) % generator.num_classes
  drawn_labels = rejection.draws(labels, min(verb.keep))
  console.print(f"drawing {len(drawn_labels):,} samples ...")
  key = jax.random.key(verb.seed)
  drawn = drawing.draw(generator, key, drawn_labels, **verb.options()).outputs
  logits = classifier.logits(drawn)
  scores = np.asarray(generation.class_scores(logits, drawn_labels))

  real = held_out.read(np.arange(min(len(held_out), verb.num)), None)
  real_features = features_of(real["image"])
  sets = {
    f"keep {keep:g}": rejection.select(scores, drawn_labels, labels, keep)
    for keep in sorted(verb.keep, reverse=True)
  }
  lines = table(
    f"{verb.num} samples a line against {len(real_features)} held-out images",
    *("samples", "class, by judge", "FID", "IS", "precision", "recall"),
    *(["CAS top 1"] if verb.accuracy_steps else []),
  )
  regression = judge.Judge(train, held_out, size=verb.judge_size)
  for name, kept in sets.items():
    accuracy = regression.sample_accuracy(drawn[kept], labels)
    figures = _compare(real_features, features_of(drawn[kept]), logits[kept])
    if verb.accuracy_steps:
      result = features.classification_accuracy_score(
        jax.random.key(0),
        *map(jnp.asarray, (drawn[kept], labels, real["image"], real["label"])),
        model=classifier.model,
        num_steps=verb.accuracy_steps,
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
    variables = interop.from_torch("inception_v3", weights.read(path))
  except BadInput as error:
    raise BadInput(f"--inception {error}") from None
  except ValueError as error:
    raise BadInput(f"--inception {path}: {error}") from None
  model = features.InceptionV3()

  @jax.jit
  def apply(variables: dict, images: jax.Array) -> jax.Array:
    return model.apply(variables, features.inception_images(images), method="features")

  return lambda images: in_batches(lambda part: apply(variables, part), images, 50)
