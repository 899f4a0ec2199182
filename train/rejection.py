"""Drawing more samples than wanted, of which a classifier picks the best of every class."""

import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from train import run
from train.errors import BadInput
from train.generate import Drawn, Generator, draw_all
from train.tasks.classify import ClassifierStage, images_of
from vqlab import generation


class Classifier(NamedTuple):
  """A trained classifier, as functions of images u8[N, H, W, C] of any number."""

  logits: Callable[[np.ndarray], np.ndarray]  # -> [N, classes]
  features: Callable[[np.ndarray], np.ndarray]  # -> [N, F]
  model: Any


def load_classifier(
  folder: pathlib.Path, generator: Generator, class_names: tuple[str, ...]
) -> Classifier:
  """The classifier of a run's folder, which must see the images that the generator draws.

  Args:
    class_names: of the data that the generator learned from.

  Raises:
    BadInput: the folder holds no finished classifier, or one of other images or classes.
  """
  done = run.load(folder)
  names = [n for n in done.stages if isinstance(getattr(done.config, n), ClassifierStage)]
  if not names:
    raise BadInput(
      f"{folder} holds {done.config.name!r}, which has no classifier; fit one, such as "
      "configs/digits_classifier.py"
    )
  trained, shape = done.stages[names[0]], done.splits[0].image_shape
  if shape != generator.image_shape:
    raise BadInput(
      f"{folder}: a classifier of images {list(shape)}; those drawn are "
      f"{list(generator.image_shape)}"
    )
  known = done.splits[0].class_names
  if generator.num_classes and known != class_names:
    raise BadInput(
      f"{folder}: a classifier of {len(known)} classes ({', '.join(known)[:40]}); the prior knows "
      f"{len(class_names)} ({', '.join(class_names)[:40]})"
    )
  dtype = getattr(done.config, names[0]).param_dtype

  def by_batches(method: str) -> Callable[[np.ndarray], np.ndarray]:
    @jax.jit
    def apply(params: dict, images: jax.Array) -> jax.Array:
      return trained.model.apply({"params": params}, images_of(images, dtype), method=method)

    def all_of(images: np.ndarray, size: int = 250) -> np.ndarray:
      parts = []
      for first in range(0, len(images), size):
        part = images[first : first + size]
        padded = np.pad(part, ((0, min(size, len(images)) - len(part)),) + ((0, 0),) * 3)
        parts.append(np.asarray(apply(trained.state.params, padded))[: len(part)])
      return np.concatenate(parts)

    return all_of

  return Classifier(by_batches("__call__"), by_batches("features"), trained.model)


def draws(labels: np.ndarray, keep: float) -> np.ndarray:
  """Labels of the samples to draw so that, of each class, the fraction `keep` is what is wanted."""
  classes, counts = np.unique(labels, return_counts=True)
  return np.repeat(classes, [_needed(n, keep) for n in counts]).astype(np.int32)


def select(scores: np.ndarray, drawn: np.ndarray, labels: np.ndarray, keep: float) -> np.ndarray:
  """Indices of the samples kept, one for each of `labels`.

  Args:
    scores: [M], of samples that were drawn for the classes `drawn`, i32[M].
    labels: i32[N], the classes wanted.
    keep: the fraction kept; drawn has at least `draws(labels, keep)`, of which the first are used.
  """
  kept = np.zeros(len(labels), np.intp)
  for label in np.unique(labels):
    wanted = np.flatnonzero(labels == label)
    mine = np.flatnonzero(drawn == label)[: _needed(len(wanted), keep)]
    best = mine[np.asarray(generation.keep_best(scores[mine], None, fraction=keep))]
    best = best[np.argsort(-scores[best], kind="stable")][: len(wanted)]
    kept[wanted] = np.sort(best)
  return kept


def draw_best(
  generator: Generator,
  key: jax.Array,
  labels: np.ndarray,
  classifier: Classifier,
  keep: float,
  **options: Any,
) -> Drawn:
  """As `generate.draw_all`, but the best `keep` of what is drawn for each class."""
  drawn_labels = draws(labels, keep)
  drawn = draw_all(generator, key, drawn_labels, **options)
  scores = np.asarray(generation.class_scores(classifier.logits(drawn.images), drawn_labels))
  kept = select(scores, drawn_labels, labels, keep)
  return Drawn(drawn.images[kept], tuple(codes[kept] for codes in drawn.codes))


def _needed(wanted: int, keep: float) -> int:
  return math.ceil(round(wanted / keep, 9))
