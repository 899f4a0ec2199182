"""Rejection sampling by a classifier: of the samples of a class, those it recognizes best are kept.

Razavi, van den Oord, Vinyals 2019 (arXiv 1906.00446), section 3.4: the classifier's score of the
class that was asked for tells the samples that lie off the manifold. What is kept is better and
less diverse; `vqlab.metrics.precision_recall` measures how much of both.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.metrics.likelihood import log_likelihood
from vqlab.nn import checks


def class_scores(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """log p(label | image) by a classifier: [N, classes], int[N] -> [N].

  Raises:
    ValueError: the shapes do not agree, or a label is no class (under `jit`, where labels can't be
      looked at, its score is NaN).
  """
  if logits.ndim != 2 or labels.shape != logits.shape[:1]:
    raise ValueError(
      f"class_scores: logits {list(logits.shape)} and labels {list(labels.shape)}; expected "
      "[N, classes] and [N]"
    )
  checks.integers_in_range("class_scores: labels", labels, logits.shape[1])
  return log_likelihood(logits, labels)


def keep_best(scores: jax.Array, labels: jax.Array | None, *, fraction: float) -> jax.Array:
  """Which samples are kept: of each class, the `fraction` with the highest scores.

  Of a class with n samples ceil(fraction n) are kept; of equal scores the first ones; NaN is the
  worst score there is. Works under `jit`.

  Args:
    scores: [N].
    labels: int[N], the classes asked for; None: all are of one class.
    fraction: in (0, 1].

  Returns:
    bool[N].

  Raises:
    ValueError: the fraction is out of range, or the shapes do not agree.
  """
  if not 0 < fraction <= 1:
    raise ValueError(f"keep_best: fraction is {fraction}; it must be in (0, 1]")
  labels = jnp.zeros(scores.shape, jnp.int32) if labels is None else jnp.asarray(labels)
  if scores.ndim != 1 or labels.shape != scores.shape:
    raise ValueError(
      f"keep_best: scores {list(scores.shape)} and labels {list(labels.shape)}; expected [N] twice"
    )
  scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
  order = jnp.lexsort((-scores, labels))  # by class, the best first; stable
  ordered = labels[order]
  position = jnp.arange(len(scores))
  new_class = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
  start = jax.lax.cummax(jnp.where(new_class, position, 0))
  end = jnp.flip(jax.lax.cummin(jnp.flip(jnp.where(jnp.roll(new_class, -1), position + 1, 2**30))))
  # By a table of all class sizes, in float64: float32 would round the product.
  quota = np.ceil(np.round(fraction * np.arange(len(scores) + 1), 9)).clip(1).astype(np.int32)
  kept = position - start < jnp.asarray(quota)[end - start]
  return jnp.zeros(scores.shape, bool).at[order].set(kept)


def reject(
  classifier: Callable[[jax.Array], jax.Array],
  images: jax.Array,
  labels: jax.Array,
  *,
  fraction: float,
  batch_size: int = 256,
) -> jax.Array:
  """Which images are kept, by any classifier: bool[N].

  Args:
    classifier: images [b, H, W, C] -> logits [b, classes]: any function, such as a Flax model's.
    images: [N, H, W, C], as the classifier takes them.
    labels: int[N], the classes asked for.
    fraction: of each class, in (0, 1].
    batch_size: images given to the classifier at once.
  """
  scores = [
    class_scores(classifier(images[i : i + batch_size]), labels[i : i + batch_size])
    for i in range(0, len(images), batch_size)
  ]
  return keep_best(jnp.concatenate(scores), labels, fraction=fraction)
