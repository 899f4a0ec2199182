"""Rejection: how many of each class, which ones, and what can't be asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import generation


def kept_by_loops(scores, labels, fraction):
  kept = np.zeros(len(scores), bool)
  for label in np.unique(labels):
    mine = np.flatnonzero(labels == label)
    best = mine[np.argsort(-scores[mine], kind="stable")]
    kept[best[: max(1, int(np.ceil(round(fraction * len(mine), 9))))]] = True
  return kept


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.25, 0.1, 0.001, 1e-10])
def test_the_best_of_every_class_are_kept(fraction):
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 7, 200).astype(np.int32) * 3  # of uneven number, and not 0..6
  scores = rng.integers(0, 9, 200).astype(np.float32)  # many are equal
  keep = jax.jit(generation.keep_best, static_argnames="fraction")
  got = np.asarray(keep(jnp.asarray(scores), jnp.asarray(labels), fraction=fraction))
  np.testing.assert_array_equal(got, kept_by_loops(scores, labels, fraction))
  assert set(labels[got]) == set(labels)  # at least one of each class


def test_exact_shares_are_not_rounded_up():
  scores = jnp.arange(100, dtype=jnp.float32)
  for percent in range(1, 101):
    assert int(generation.keep_best(scores, None, fraction=percent / 100).sum()) == percent


def test_nan_is_the_worst():
  kept = generation.keep_best(jnp.array([jnp.nan, -jnp.inf, 1.0, 2.0]), None, fraction=0.5)
  assert kept.tolist() == [False, False, True, True]


def test_scores_are_log_probabilities_of_the_class_asked_for():
  logits = jnp.array([[0.0, 0.0], [3.0, 1.0]], jnp.bfloat16)
  scores = generation.class_scores(logits, jnp.array([1, 0]))
  assert scores.dtype == jnp.float32
  np.testing.assert_allclose(scores, [np.log(0.5), -np.log1p(np.exp(-2))], atol=1e-6)


def test_reject_by_any_function_in_any_batches():
  images = jax.random.normal(jax.random.key(0), (50, 4, 4, 1))
  labels = jnp.arange(50) % 3
  weights = jax.random.normal(jax.random.key(1), (16, 3))

  def classifier(images):
    return images.reshape(len(images), -1) @ weights

  whole = generation.reject(classifier, images, labels, fraction=0.3)
  parts = generation.reject(classifier, images, labels, fraction=0.3, batch_size=7)
  assert whole.tolist() == parts.tolist() and int(whole.sum()) == 6 + 6 + 5  # of 17, 17, 16
  right = (classifier(images).argmax(-1) == labels).astype(jnp.float32)
  assert right[whole].mean() > right.mean()


def test_bad_input():
  for fraction in (0.0, -1.0, 1.5):
    with pytest.raises(ValueError, match=r"fraction is .*\(0, 1\]"):
      generation.keep_best(jnp.zeros(3), None, fraction=fraction)
  with pytest.raises(ValueError, match=r"scores \[3\] and labels \[2\]"):
    generation.keep_best(jnp.zeros(3), jnp.zeros(2, jnp.int32), fraction=0.5)
  with pytest.raises(ValueError, match=r"logits \[3, 2\] and labels \[2\]"):
    generation.class_scores(jnp.zeros((3, 2)), jnp.zeros(2, jnp.int32))
  with pytest.raises(ValueError, match=r"labels run from -1 to 0; they must be in \[0, 2\)"):
    generation.class_scores(jnp.zeros((2, 2)), jnp.array([0, -1]))
  scores = jax.jit(generation.class_scores)(jnp.zeros((3, 2)), jnp.array([0, -1, 2]))
  assert np.isnan(scores).tolist() == [False, True, True]
