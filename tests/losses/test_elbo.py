"""Likelihoods and the KL to the standard normal, against SciPy and by sampling's closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vqlab.losses import Bernoulli, Gaussian, normal_kl


@pytest.fixture
def pair():
  rng = np.random.default_rng(0)
  return rng.normal(size=(4, 3, 2)).astype(np.float32) * 3, rng.integers(0, 2, (4, 3, 2))


def test_bernoulli(pair):
  logits, x = pair
  found = Bernoulli().log_prob(jnp.asarray(logits), jnp.asarray(x, jnp.float32))
  p = 1 / (1 + np.exp(-np.float64(logits)))
  np.testing.assert_allclose(found, scipy.stats.bernoulli.logpmf(x, p).sum((1, 2)), rtol=1e-5)
  np.testing.assert_allclose(Bernoulli().mean(jnp.asarray(logits)), p, rtol=1e-5)


def test_bernoulli_of_sure_logits_is_finite():
  logits = jnp.array([[1e4, -1e4], [-1e4, 1e4]])
  found = Bernoulli().log_prob(logits, jnp.array([[1.0, 0.0], [1.0, 0.0]]))
  np.testing.assert_array_equal(found, [0, -2e4])
  grads = jax.grad(lambda l: jnp.sum(Bernoulli().log_prob(l, jnp.ones_like(l))))(logits)
  np.testing.assert_array_equal(grads, [[0, 1], [1, 0]])


def test_gaussian(pair):
  mean, x = pair
  found = Gaussian(0.3).log_prob(jnp.asarray(mean), jnp.asarray(x, jnp.float32))
  expected = scipy.stats.norm.logpdf(x, mean, 0.3).sum((1, 2))
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_array_equal(Gaussian().mean(mean), mean)


def test_kl_is_the_integral():
  mu, logvar = np.array([[0.7], [-2.0]]), np.array([[0.4], [-3.0]])
  for m, v, found in zip(
    mu[:, 0], logvar[:, 0], normal_kl(jnp.asarray(mu), jnp.asarray(logvar)), strict=True
  ):
    q = scipy.stats.norm(m, np.exp(0.5 * v))
    z = np.linspace(m - 12, m + 12, 200_001)
    density = q.pdf(z)
    expected = np.trapezoid(density * (q.logpdf(z) - scipy.stats.norm.logpdf(z)), z)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_kl_near_the_standard_normal_is_not_lost_to_rounding():
  small = np.float32(1e-4)
  found = normal_kl(jnp.zeros((1, 1)), jnp.full((1, 1), small))
  np.testing.assert_allclose(found, [np.float64(small) ** 2 / 4], rtol=1e-2)
  assert normal_kl(jnp.zeros((1, 4)), jnp.zeros((1, 4)))[0] == 0


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), "1"])
def test_impossible_scales(scale):
  with pytest.raises(ValueError, match=r"Gaussian: scale is .*; it must be a positive number"):
    Gaussian(scale)


def test_shapes_must_agree():
  with pytest.raises(ValueError, match=r"Bernoulli: observations are \[2, 3\].* is \[2, 1\]"):
    Bernoulli().log_prob(jnp.zeros((2, 1)), jnp.zeros((2, 3)))
