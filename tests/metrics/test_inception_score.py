"""Inception Score: against its definition in NumPy, with splits, masks and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import metrics

N, Y = 96, 7


@pytest.fixture(scope="module")
def logits():
  return np.asarray(3 * jax.random.normal(jax.random.key(0), (N, Y)))


def by_definition(logits):
  p = np.exp(np.float64(logits))
  p /= p.sum(1, keepdims=True)
  marginal = p.mean(0, keepdims=True)
  return np.exp(np.mean(np.sum(p * (np.log(p) - np.log(marginal)), 1)))


def test_score_against_the_definition(logits):
  score = metrics.inception_score(jax.jit(metrics.class_sums)(logits))
  np.testing.assert_allclose(score.mean, by_definition(logits), rtol=1e-5)
  assert score.std == 0
  as_probabilities = metrics.class_sums(jnp.log(jax.nn.softmax(jnp.asarray(logits))))
  np.testing.assert_allclose(metrics.inception_score(as_probabilities).mean, score.mean, rtol=1e-5)


def test_extremes():
  sure = 1e4 * jnp.eye(Y)
  np.testing.assert_allclose(metrics.inception_score(metrics.class_sums(sure)).mean, Y, rtol=1e-5)
  same = jnp.tile(sure[:1], (5, 1))
  np.testing.assert_allclose(metrics.inception_score(metrics.class_sums(same)).mean, 1, rtol=1e-6)
  never = jnp.where(jnp.eye(Y, dtype=bool), 0, -jnp.inf)
  np.testing.assert_allclose(metrics.inception_score(metrics.class_sums(never)).mean, Y, rtol=1e-5)


@pytest.mark.parametrize("order", ["interleaved", "consecutive"])
def test_splits_over_batches_of_any_size(logits, order):
  index = np.arange(N)
  split = index % 5 if order == "interleaved" else index * 5 // N
  sums = []
  for start, stop in ((0, 30), (30, 31), (31, N)):
    rows = np.arange(start, start + 80)  # padded
    padded = np.where((rows < stop)[:, None], logits[np.minimum(rows, N - 1)], np.nan)
    sums.append(
      metrics.class_sums(
        jnp.asarray(padded, jnp.float32),
        split=jnp.asarray(split[np.minimum(rows, N - 1)]),
        num_splits=5,
        mask=jnp.asarray(rows < stop),
      )
    )
  score = metrics.inception_score(metrics.merge(*sums))
  scores = [by_definition(logits[split == s]) for s in range(5)]
  np.testing.assert_allclose(score.mean, np.mean(scores), rtol=1e-5)
  np.testing.assert_allclose(score.std, np.std(scores), rtol=1e-4)


def test_devices_merge_to_the_whole(logits):
  split = jnp.arange(N) % 3
  sums = lambda logits, split: metrics.class_sums(logits, split=split, num_splits=3)
  devices = jax.device_count()
  summed = jax.pmap(lambda *a: metrics.across(sums(*a), "data"), "data")(
    logits.reshape(devices, -1, Y), split.reshape(devices, -1)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-5),
    summed,
    sums(logits, split),
  )


def test_empty_splits_and_nan():
  sums = metrics.class_sums(jnp.eye(Y), split=jnp.array([0, 0, 2, 2, -1, 9, 2]), num_splits=4)
  assert list(sums.count) == [2, 0, 3, 0]
  assert np.isfinite(metrics.inception_score(sums).mean)
  nan = metrics.class_sums(jnp.eye(Y).at[2, 1].set(jnp.nan))
  assert np.isnan(metrics.inception_score(nan).mean)


def test_bad_input_is_named(logits):
  with pytest.raises(ValueError, match=r"logits must be \[B, Y\]"):
    metrics.class_sums(logits[0])
  with pytest.raises(ValueError, match="num_splits is 0; it must be at least 1"):
    metrics.class_sums(logits, split=jnp.zeros(96, jnp.int32), num_splits=0)
  with pytest.raises(ValueError, match="10 splits need `split`"):
    metrics.class_sums(logits, num_splits=10)
  with pytest.raises(ValueError, match=r"split must be int\[96\]"):
    metrics.class_sums(logits, split=jnp.zeros(3, jnp.int32))
