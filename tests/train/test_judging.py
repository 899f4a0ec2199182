"""What classifiers of all subjects have in common."""

import jax.numpy as jnp
import numpy as np
import pytest

from train import judging


def test_in_batches_calls_with_one_shape():
  inputs, shapes = np.arange(14.0).reshape(7, 2), set()

  def doubled(x):
    shapes.add(x.shape)
    return 2 * x

  np.testing.assert_array_equal(judging.in_batches(doubled, inputs, 3), 2 * inputs)
  assert shapes == {(3, 2)}


def test_sums_by_the_name_of_the_labels_and_the_mask():
  logits = jnp.log(jnp.array([[0.75, 0.25], [0.5, 0.5], [0.1, 0.9]]))
  batch = {"speaker": jnp.array([0, 1, 0]), "mask": jnp.array([True, True, False])}
  figures = judging.figures_of(judging.sums_of(logits, batch, label="speaker"))
  assert figures == pytest.approx({"accuracy": 0.5, "cross_entropy": -np.log(0.75 * 0.5) / 2})


def test_confusion_is_counted_and_drawn():
  counts = judging.confusion_of(np.array([0, 0, 2, 2]), np.array([0, 1, 2, 2]), 3)
  assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 2]]
  one, other = (
    judging.confusion_picture(c, ["a", "b", "c"], what="things") for c in (counts, counts.T)
  )
  assert one.dtype == np.uint8 and one.shape == other.shape and (one != other).any()
