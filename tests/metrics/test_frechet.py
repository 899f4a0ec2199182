"""Frechet distance: against SciPy's matrix root and closed forms, however the data are split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import metrics

D = 24


def features(seed, n, *, mean=0.0, scale=1.0):
  rng = np.random.default_rng(seed)
  mixing = np.random.default_rng(99).normal(size=(D, D)) / np.sqrt(D)
  return (mean + scale * np.abs(rng.normal(size=(n, D)) @ mixing)).astype(np.float32)


SUMS = jax.jit(metrics.feature_sums)


def moments_of(x, batch=None, reference=None):
  batch = batch or len(x)
  parts = [SUMS(x[i : i + batch], reference=reference) for i in range(0, len(x), batch)]
  return metrics.moments(metrics.merge(*parts), reference=reference)


def distance(first, second):
  return metrics.frechet_distance(first, second).distance


def by_scipy(x, y):
  linalg = pytest.importorskip("scipy.linalg")
  x, y = np.float64(x), np.float64(y)
  c, d = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
  shift = x.mean(0) - y.mean(0)
  return shift @ shift + np.trace(c) + np.trace(d) - 2 * np.trace(linalg.sqrtm(c @ d).real)


def test_moments_against_numpy():
  x = features(0, 500)
  found = moments_of(x, 64)
  np.testing.assert_allclose(found.mean, np.mean(np.float64(x), 0), rtol=1e-6)
  np.testing.assert_allclose(found.covariance, np.cov(np.float64(x), rowvar=False), atol=1e-6)
  assert found.count == 500 and found.covariance.dtype == np.float64


def test_distance_against_scipy():
  x, y = features(0, 500), features(1, 700, mean=0.2, scale=1.3)
  found = distance(moments_of(x, 100), moments_of(y, 70))
  np.testing.assert_allclose(found, by_scipy(x, y), rtol=1e-4)
  np.testing.assert_allclose(found, distance(moments_of(y), moments_of(x)), rtol=1e-4)


def test_distance_of_a_set_to_itself_is_zero():
  x = features(0, 500)
  assert distance(moments_of(x), moments_of(x)) < 1e-3
  assert distance(moments_of(x, 7), moments_of(x[::-1], 100)) < 1e-3


def test_gaussians_of_known_distance():
  rng = np.random.default_rng(0)
  spread, other = np.linspace(0.5, 2, D), np.linspace(1.5, 0.7, D)
  x = (rng.normal(size=(100_000, D)) * spread).astype(np.float32)
  y = (0.5 + rng.normal(size=(100_000, D)) * other).astype(np.float32)
  closed = D * 0.25 + np.sum((spread - other) ** 2)  # diagonal covariances commute
  found = distance(moments_of(x, 10_000), moments_of(y, 10_000))
  np.testing.assert_allclose(found, closed, rtol=0.01)


@pytest.mark.parametrize("n", [2, 10])  # fewer examples than features
def test_singular_covariances(n):
  x, y = features(0, n), features(1, n, mean=0.1)
  found = distance(moments_of(x), moments_of(y))
  np.testing.assert_allclose(found, by_scipy(x, y), rtol=1e-3)
  assert distance(moments_of(x), moments_of(x)) < 1e-3


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
def test_the_error_covers_what_rounding_does_and_a_reference_makes_it_small(mean):
  x, y = features(0, 600, mean=mean), features(1, 600, mean=mean + 0.2)
  exact, reference = by_scipy(x, y), jnp.mean(x[:50], axis=0)
  plain = metrics.frechet_distance(moments_of(x, 50), moments_of(y, 50))
  assert abs(plain.distance - exact) < plain.error
  first, second = moments_of(x, 50, reference), moments_of(y, 50, reference)
  np.testing.assert_allclose(first.mean, np.float64(x).mean(0), rtol=1e-6)
  near = metrics.frechet_distance(first, second)
  np.testing.assert_allclose(near.distance, exact, rtol=1e-3)
  assert near.error < 1e-4 * exact
  assert (plain.error > exact) == (mean == 1000.0)  # where the distance means nothing


def test_order_and_batch_size_change_nothing():
  x, y = features(0, 480), moments_of(features(1, 480, mean=0.1))
  whole = distance(moments_of(x), y)
  shuffled = np.random.default_rng(0).permutation(x)
  for batch in (1, 7, 480):
    found = distance(moments_of(shuffled, batch), y)
    np.testing.assert_allclose(found, whole, rtol=1e-4)


def test_masked_rows_count_for_nothing():
  x = features(0, 40)
  padded = np.concatenate([x, np.full((8, D), np.nan, np.float32)])
  masked = SUMS(padded, mask=jnp.arange(48) < 40)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), masked, SUMS(x))


def test_devices_merge_to_the_whole():
  x = features(0, 80)
  devices = jax.device_count()
  summed = jax.pmap(lambda x: metrics.across(metrics.feature_sums(x), "data"), "data")(
    x.reshape(devices, -1, D)
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[-1], b, rtol=1e-4), summed, SUMS(x))


def test_collapsed_samples_have_a_distance():
  x = features(0, 100)
  y = np.repeat(x[:1], 50, axis=0)
  exact = np.sum((np.float64(x).mean(0) - y[0]) ** 2) + np.trace(np.cov(np.float64(x).T))
  # The hardest case for rounding: the root of a variance that is 1e-7 for 0.
  found = distance(moments_of(x), moments_of(y))
  np.testing.assert_allclose(found, exact, rtol=2e-3)
  reference = jnp.asarray(y[0])
  found = distance(moments_of(x, reference=reference), moments_of(y, reference=reference))
  np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_two_collapsed_sets_have_a_distance():
  x = features(0, 2)
  first, second = np.repeat(x[:1], 30, axis=0), np.repeat(x[1:], 50, axis=0)
  exact = np.sum((np.float64(x[0]) - x[1]) ** 2)
  for reference in (jnp.asarray(x[0]), jnp.asarray(x.mean(0))):
    found = distance(
      moments_of(first, reference=reference), moments_of(second, reference=reference)
    )
    np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_the_covariances_error_is_estimated():
  x = 3 + features(0, 4096)
  found = moments_of(x)
  exact = np.cov(np.float64(x), rowvar=False)
  error = np.abs(np.linalg.eigvalsh(found.covariance - exact)).sum()
  assert found.error / 100 < error < found.error


def test_bad_input_is_named():
  x = features(0, 10)
  with pytest.raises(ValueError, match="2 examples or more; found 1"):
    moments_of(x[:1])
  with pytest.raises(ValueError, match="features are NaN or infinite"):
    moments_of(np.where(np.arange(D) == 5, np.nan, x).astype(np.float32))
  with pytest.raises(ValueError, match="24 and 23 features"):
    distance(moments_of(x), moments_of(x[:, 1:]))
  with pytest.raises(ValueError, match=r"features must be \[B, D\]"):
    metrics.feature_sums(jnp.zeros((2, 3, 4)))
  with pytest.raises(ValueError, match=r"reference must be \[24\]"):
    metrics.feature_sums(x, reference=jnp.zeros(3))
  with pytest.raises(ValueError, match="mask must be bool"):
    metrics.feature_sums(x, mask=jnp.ones(3, bool))
