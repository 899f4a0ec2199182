"""Drawing more samples than wanted, of which a classifier picks the best of every class."""

import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from train import run
from train.codes.generation import Drawn, Generator, draw
from train.codes.pixels import from_bytes
from train.errors import BadInput
from train.images.classify import ClassifierStage
from train.judging import in_batches
from vqlab import generation


class Classifier(NamedTuple):
  """A trained classifier, as functions of images u8[N, H, W, C] of any number."""

  logits: Callable[[np.ndarray], np.ndarray]  # -> [N, classes]
  features: Callable[[np.ndarray], np.ndarray]  # -> [N, F]
  model: Any


def load_classifier(folder: pathlib.Path, about: dict[str, Any]) -> Classifier:
  """The classifier of a run's folder, which must see the images that are drawn.

  Args:
    about: what is known about the data that the prior learned from.

  Raises:
    BadInput: the folder holds no finished classifier, or one of other images or classes.
  """
  done = run.load(folder)
  trained = done.the(ClassifierStage)
  for what, of in (("images", "image_shape"), ("classes", "class_names")):
    if done.about[of] != about[of]:
      raise BadInput(
        f"{folder}: a classifier of {what} {str(done.about[of])[:60]}; those drawn are "
        f"{str(about[of])[:60]}"
      )

  def by_batches(method: str) -> Callable[[np.ndarray], np.ndarray]:
    @jax.jit
    def apply(params: dict, images: jax.Array) -> jax.Array:
      images = from_bytes(images, trained.stage.param_dtype)
      return trained.model.apply({"params": params}, images, method=method)

    return lambda images: in_batches(lambda part: apply(trained.learned.params, part), images)

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
  """As `draw`, but the best `keep` of what is drawn for each class."""
  drawn_labels = draws(labels, keep)
  drawn = draw(generator, key, drawn_labels, **options)
  scores = np.asarray(generation.class_scores(classifier.logits(drawn.outputs), drawn_labels))
  kept = select(scores, drawn_labels, labels, keep)
  return Drawn(drawn.outputs[kept], tuple(codes[kept] for codes in drawn.codes))


def _needed(wanted: int, keep: float) -> int:
  return math.ceil(round(wanted / keep, 9))
