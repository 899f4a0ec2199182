"""What classifiers of all subjects have in common: their sums, many inputs at once, confusion."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from train.task import Batch
from vqlab import metrics


class Sums(NamedTuple):
  """What an evaluation adds up."""

  nats: metrics.Total  # cross entropy
  right: metrics.Total


def sums_of(logits: jax.Array, batch: Batch, *, label: str = "label") -> Sums:
  """Of logits [B, classes]; under the batch's mask, where it has one. label: the labels' name."""
  nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch[label])
  mask = batch.get("mask")
  return Sums(metrics.total(nats, mask=mask), metrics.accuracy(logits, batch[label], mask=mask))


def figures_of(sums: Sums) -> dict[str, float]:
  return {
    "cross_entropy": float(metrics.mean(sums.nats)),
    "accuracy": float(metrics.mean(sums.right)),
  }


def in_batches(
  function: Callable[[np.ndarray], Any], inputs: np.ndarray, size: int = 250
) -> np.ndarray:
  """function(inputs) on the host, `size` at a time, so that it is compiled for one shape."""
  size, parts = min(size, len(inputs)), []
  for first in range(0, len(inputs), size):
    part = inputs[first : first + size]
    padded = np.pad(part, ((0, size - len(part)),) + ((0, 0),) * (inputs.ndim - 1))
    parts.append(np.asarray(function(padded))[: len(part)])
  return np.concatenate(parts)


def confusion_of(labels: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
  """How often examples of a class (rows) are taken for another: i64[classes, classes]."""
  counts = np.zeros((classes, classes), np.int64)
  np.add.at(counts, (labels, found), 1)
  return counts


def confusion_picture(counts: np.ndarray, names: Sequence[str], *, what: str) -> np.ndarray:
  """What `confusion_of` counts, with the classes' names, as a picture u8[H, W, 3].

  Args:
    what: is judged, a plural.
  """
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  side = min(4 + 0.22 * len(names), 14)
  figure = Figure(figsize=(side + 1, side), dpi=110, layout="constrained")
  canvas = FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  shown = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
  right = np.trace(counts) / max(counts.sum(), 1)
  axes.set(title=f"{counts.sum()} {what}, {right:.1%} right", xlabel="predicted", ylabel="class")
  if len(names) <= 60:
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
  figure.colorbar(shown, label=f"% of the class' {what}", shrink=0.8)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3].copy()
