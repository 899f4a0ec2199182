"""Judging samples against held-out real images: score."""

import pathlib
import zipfile
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from train import cli, compile_cache, generate, judge, rejection
from train.errors import BadInput
from train.report import console
from train.verbs.pictures import check_keep, load, options_of
from train.verbs.tables import table
from vqlab import features, generation, interop, metrics

_BATCH = 50


def score(args: list[str]) -> None:
  parsed = cli.parse(cli.Score, args, prog="python -m train score")
  options = options_of(parsed)
  if not parsed.keep:
    raise BadInput("--keep is empty; give at least one fraction, such as 1")
  for keep in parsed.keep:
    check_keep(keep)
  if parsed.accuracy_steps < 0:
    raise BadInput(f"--accuracy_steps is {parsed.accuracy_steps}; it must be at least 0")
  if parsed.num < 10:
    raise BadInput(f"--num is {parsed.num}; it must be at least 10")
  compile_cache.enable()
  done, generator = load(parsed.dir, options)
  if not generator.num_classes:
    raise BadInput(f"{parsed.dir}: its prior knows no classes to be recognized")
  if parsed.judge_size < 1 or parsed.judge_size > min(generator.image_shape[:2]):
    raise BadInput(f"--judge_size is {parsed.judge_size}; images are {generator.image_shape[:2]}")
  train, held_out = done.splits
  classifier = rejection.load_classifier(parsed.classifier, generator, train.class_names)
  features_of = _inception(parsed.inception) if parsed.inception else classifier.features

  labels = np.arange(parsed.num, dtype=np.int32) % generator.num_classes
  drawn_labels = rejection.draws(labels, min(parsed.keep))
  console.print(f"drawing {len(drawn_labels):,} samples ...")
  key = jax.random.key(parsed.seed)
  drawn = generate.draw_all(generator, key, drawn_labels, **options)
  logits = classifier.logits(drawn.images)
  scores = np.asarray(generation.class_scores(logits, drawn_labels))

  real, real_labels = held_out.gather(np.arange(min(len(held_out), parsed.num)))
  real_features = features_of(real)
  sets = {
    f"keep {keep:g}": rejection.select(scores, drawn_labels, labels, keep)
    for keep in sorted(parsed.keep, reverse=True)
  }
  lines = table(
    f"{parsed.num} samples a line against {len(real)} held-out images",
    *("samples", "class, by judge", "FID", "IS", "precision", "recall"),
    *(["CAS top 1"] if parsed.accuracy_steps else []),
  )
  regression = judge.Judge(train, held_out, size=parsed.judge_size)
  for name, kept in sets.items():
    accuracy = regression.sample_accuracy(drawn.images[kept], labels)
    figures = _compare(real_features, features_of(drawn.images[kept]), logits[kept])
    if parsed.accuracy_steps:
      figures.append(
        _cas(classifier, drawn.images[kept], labels, real, real_labels, parsed.accuracy_steps)
      )
    lines.add_row(name, f"{accuracy:.1%}", *figures)
  # What real images score: the best that can be expected.
  figures = _compare(real_features, real_features, classifier.logits(real))[:2]
  lines.add_row("held-out", f"{regression.accuracy:.1%}", *figures)
  console.print(lines)


def _compare(real: np.ndarray, samples: np.ndarray, logits: np.ndarray) -> list[str]:
  """FID, Inception Score (by the classifier's logits), precision and recall (k = 3)."""
  reference = real.mean(axis=0)
  first, second = (
    metrics.moments(_sums(x, reference), reference=reference) for x in (real, samples)
  )
  fid = metrics.frechet_distance(first, second)
  quality = metrics.inception_score(metrics.class_sums(jnp.asarray(logits)))
  manifolds = metrics.precision_recall(jnp.asarray(real), jnp.asarray(samples))
  return [
    f"{fid:.3f}",
    f"{float(quality.mean):.2f}",
    f"{float(manifolds.precision):.3f}",
    f"{float(manifolds.recall):.3f}",
  ]


def _sums(features: np.ndarray, reference: np.ndarray) -> metrics.FeatureSums:
  parts = [
    metrics.feature_sums(jnp.asarray(features[i : i + 1000]), reference=jnp.asarray(reference))
    for i in range(0, len(features), 1000)
  ]
  return metrics.merge(*parts)


def _cas(
  classifier: rejection.Classifier,
  samples: np.ndarray,
  labels: np.ndarray,
  real: np.ndarray,
  real_labels: np.ndarray,
  steps: int,
) -> str:
  result = features.classification_accuracy_score(
    jax.random.key(0),
    jnp.asarray(samples),
    jnp.asarray(labels),
    jnp.asarray(real),
    jnp.asarray(real_labels),
    model=classifier.model,
    num_steps=steps,
  )
  return f"{float(result.top1):.1%}"


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

  def all_of(images: np.ndarray) -> np.ndarray:
    parts = []
    for first in range(0, len(images), _BATCH):
      part = images[first : first + _BATCH]
      padded = np.pad(part, ((0, _BATCH - len(part)),) + ((0, 0),) * 3)
      parts.append(np.asarray(apply(variables, padded))[: len(part)])
    return np.concatenate(parts)

  return all_of


def _state_dict(path: pathlib.Path) -> dict[str, np.ndarray]:
  if not path.is_file():
    raise BadInput(f"--inception {path}: no such file; give a state dict as .npz or .pth")
  if path.suffix == ".npz":
    try:
      with np.load(path) as arrays:
        return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
      raise BadInput(f"--inception {path} can't be read: {error}") from None
  try:
    import torch
  except ImportError:
    raise BadInput(f"--inception {path}: PyTorch reads it, which is missing; give a .npz") from None
  try:
    return torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:
    reason = str(error).splitlines()[0][:200]
    raise BadInput(f"--inception {path} can't be read: {reason}") from None
