"""Likelihoods of bytes: probabilities that sum to 1, as SciPy has them, finite everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import logistic

from vqlab import losses

BYTES = jnp.arange(256).reshape(256, 1, 1, 1)


@pytest.mark.parametrize("likelihood", [losses.DiscretizedLogistic(), losses.CategoricalBytes()])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_the_256_values_sum_to_one(likelihood, scale):
  decoded = scale * jax.random.normal(jax.random.key(0), (1, 1, 7, likelihood.outputs(3)))
  x = jnp.broadcast_to(BYTES, (256, 1, 7, 3))
  log_p = likelihood.log_probs(jnp.broadcast_to(decoded, (256, *decoded.shape[1:])), x)
  assert log_p.shape == x.shape
  np.testing.assert_allclose(jnp.exp(log_p).sum(0), 1, rtol=2e-5)
  np.testing.assert_allclose(
    likelihood.log_prob(jnp.broadcast_to(decoded, (256, *decoded.shape[1:])), x),
    log_p.reshape(256, -1).sum(1),
    rtol=1e-6,
  )


def test_logistic_against_scipy(x64):
  location, log_scale = 0.3, -2.0
  decoded = jnp.broadcast_to(jnp.asarray([location, log_scale]), (256, 1, 1, 2))
  edges = (np.arange(257) - 0.5) / 127.5 - 1
  edges[0], edges[-1] = -np.inf, np.inf
  expected = np.diff(logistic.cdf(edges, location, np.exp(log_scale)))
  found = jnp.exp(losses.DiscretizedLogistic().log_probs(decoded, BYTES))[:, 0, 0, 0]
  np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_logistic_far_from_its_location_is_finite_and_so_is_its_gradient():
  of = losses.DiscretizedLogistic()
  for location in (-1e4, -1.0, 1.0, 1e4):
    for log_scale in (-30.0, -7.0, 0.0, 200.0):
      decoded = jnp.broadcast_to(jnp.asarray([location, log_scale]), (256, 1, 1, 2))
      value, gradient = jax.value_and_grad(lambda d: of.log_prob(d, BYTES).sum())(decoded)
      assert np.isfinite(value) and np.isfinite(gradient).all(), (location, log_scale)


def test_means_are_what_a_person_looks_at():
  decoded = jnp.asarray([0.0, 3.0, -5.0, 0.0]).reshape(1, 1, 1, 4)
  np.testing.assert_allclose(losses.DiscretizedLogistic().mean(decoded)[0, 0, 0], [0.5, 1.0])
  logits = jnp.full((1, 1, 1, 512), -1e3).at[..., 51].set(0.0).at[..., 256].set(0.0)
  np.testing.assert_allclose(losses.CategoricalBytes().mean(logits)[0, 0, 0], [0.2, 0.0], rtol=1e-6)


@pytest.mark.parametrize("likelihood", [losses.DiscretizedLogistic(), losses.CategoricalBytes()])
def test_bad_input(likelihood):
  decoded = jnp.zeros((2, 4, 4, likelihood.outputs(3)))
  with pytest.raises(ValueError, match="observations are float32; give bytes"):
    likelihood.log_prob(decoded, jnp.zeros((2, 4, 4, 3)))
  with pytest.raises(ValueError, match=r"observations \[2, 4, 4, 1\] need \[2, 4, 4, .* found"):
    likelihood.log_prob(decoded, jnp.zeros((2, 4, 4, 1), jnp.uint8))
