"""ML-VAE with a linear decoder is a random-effects model, all of which is known in closed form.

    x_i = c A + s_i B + offset + sigma e_i,    c, s_i, e_i ~ N(0, I)

With A B^T = 0 and orthogonal rows the posterior factorizes as ML-VAE's does, so for groups of one
size n there is an encoder that is exact, and the ELBO is then the evidence.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.autoencoders import mlvae
from vqlab.losses import Gaussian

F, C, S, SIGMA = 6, 2, 2, 0.7
GROUPS, SIZE = 3, 4
IDS = np.repeat(np.arange(GROUPS, dtype=np.int32), SIZE)


class Linear(nn.Module):
  """A linear encoder with constant variances, and a linear decoder."""

  content_dim: int = C
  style_dim: int = S
  likelihood: Gaussian = Gaussian(SIGMA)

  def setup(self):
    names = ("content", "style")
    zeros = nn.initializers.zeros
    self.maps = {n: self.param(f"{n}_map", zeros, (F, 2)) for n in names}
    self.logvars = {n: self.param(f"{n}_logvar", zeros, (2,)) for n in names}
    self.loadings = {n: self.param(f"{n}_loading", zeros, (2, F)) for n in names}
    self.offset = self.param("offset", zeros, (F,))

  def encode(self, x):
    def normal(name):
      mu = (x - self.offset) @ self.maps[name]
      return mlvae.Normal(mu, jnp.broadcast_to(self.logvars[name], mu.shape))

    return mlvae.Posterior(normal("content"), normal("style"))

  def decode(self, content, style):
    return content @ self.loadings["content"] + style @ self.loadings["style"] + self.offset


class Truth(NamedTuple):
  """The model in float64, one data set of it, and what follows."""

  loadings: tuple[np.ndarray, np.ndarray]
  offset: np.ndarray
  x: np.ndarray  # [GROUPS * SIZE, F]

  def covariance(self):
    """Of a group's latents and data, joint: (c, s_1 .. s_n, x_1 .. x_n)."""
    a, b = self.loadings
    to_x = np.concatenate([np.tile(a, (1, SIZE)), np.kron(np.eye(SIZE), b)])
    latent = np.eye(len(to_x))
    of_x = to_x.T @ to_x + SIGMA**2 * np.eye(SIZE * F)
    return latent, to_x, of_x

  def posterior(self, group):
    """Mean and covariance of (c, s_1 .. s_n) given the group's data, by conditioning."""
    latent, to_x, of_x = self.covariance()
    gain = np.linalg.solve(of_x, to_x.T).T
    x = (self.x[group == IDS] - self.offset).reshape(-1)
    return gain @ x, latent - gain @ to_x.T

  def evidence(self, group):
    of_x = self.covariance()[2]
    x = (self.x[group == IDS] - self.offset).reshape(-1)
    log_det = np.linalg.slogdet(2 * np.pi * of_x)[1]
    return -0.5 * (x @ np.linalg.solve(of_x, x) + log_det)


def make(seed, *, orthogonal=True):
  """The model, data drawn from it, and the parameters of the exact encoder."""
  rng = np.random.default_rng(seed)
  basis = np.linalg.qr(rng.normal(size=(F, F)))[0] if orthogonal else rng.normal(size=(F, F)) / 2
  a, b = basis[:2] * [[1.3], [0.6]], basis[2:4] * [[0.9], [1.8]]
  offset = rng.normal(size=F)
  c, s = rng.normal(size=(GROUPS, C))[IDS], rng.normal(size=(GROUPS * SIZE, S))
  x = c @ a + s @ b + offset + SIGMA * rng.normal(size=(GROUPS * SIZE, F))
  content = SIZE * np.sum(a**2, axis=1) / SIGMA**2 + 1  # precision of the content, given n members
  style = np.sum(b**2, axis=1) / SIGMA**2 + 1
  params = {
    "content_map": SIZE * a.T / SIGMA**2 / content,
    "content_logvar": -np.log(content / SIZE),  # each member has an n-th of it
    "style_map": b.T / SIGMA**2 / style,
    "style_logvar": -np.log(style),
    "content_loading": a,
    "style_loading": b,
    "offset": offset,
  }
  return Truth((a, b), offset, x), jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)


@jax.jit
def bounds(params, x, keys):
  """ELBOs of the groups, [draws, GROUPS], and the gradient of each draw's loss."""

  def one(params, key):
    out = mlvae.forward(Linear(), params, x, IDS, GROUPS, key)
    terms = mlvae.losses(Linear(), out, x)
    return mlvae.loss(terms), mlvae.group_elbo(terms, IDS, GROUPS)

  (_, elbo), grads = jax.vmap(jax.value_and_grad(one, has_aux=True), (None, 0))(params, keys)
  return elbo, grads


KEYS = jax.random.split(jax.random.key(0), 20_000)


def estimate(params, truth):
  elbo, grads = bounds(params, jnp.asarray(truth.x, jnp.float32), KEYS)
  elbo = np.float64(elbo)
  return elbo.mean(0), elbo.std(0) / np.sqrt(len(KEYS)), grads


def test_accumulated_evidence_is_the_exact_posterior():
  truth, params = make(0)
  x = jnp.asarray(truth.x, jnp.float32)
  found = mlvae.infer(Linear(), params, x, IDS, GROUPS)
  for group in range(GROUPS):
    mean, covariance = truth.posterior(group)
    rows = group == IDS
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-12  # so it factorizes
    variance = np.diag(covariance)
    for row in np.flatnonzero(rows):
      np.testing.assert_allclose(found.content.mu[row], mean[:C], rtol=1e-5, atol=1e-5)
      np.testing.assert_allclose(np.exp(found.content.logvar[row]), variance[:C], rtol=1e-5)
    np.testing.assert_allclose(
      np.asarray(found.style.mu)[rows].reshape(-1), mean[C:], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
      np.exp(found.style.logvar)[rows].reshape(-1), variance[C:], rtol=1e-5
    )


def test_the_prior_times_ragged_groups_of_likelihoods_is_the_exact_posterior():
  """With the prior as one more member, groups of any sizes are exact: nothing hangs on n."""
  truth, _ = make(0)
  a = truth.loadings[0]
  precision = np.sum(a**2, axis=1) / SIGMA**2
  mu = (truth.x - truth.offset) @ a.T / SIGMA**2 / precision  # of the likelihood of each alone
  ids = np.array([0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2], np.int32)
  members = [
    np.concatenate([z, np.zeros((3, C))])
    for z in (mu, np.broadcast_to(-np.log(precision), mu.shape))
  ]
  found = mlvae.accumulate(*np.float32(members), np.append(ids, [0, 1, 2]).astype(np.int32), 3)
  noise = truth.loadings[1].T @ truth.loadings[1] + SIGMA**2 * np.eye(F)  # of x given c
  for group in range(3):
    x = (truth.x - truth.offset)[ids == group]
    inverse = np.linalg.inv(np.eye(C) + len(x) * a @ np.linalg.solve(noise, a.T))
    mean = inverse @ a @ np.linalg.solve(noise, x.sum(0))
    np.testing.assert_allclose(found.mu[group], mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.exp(found.logvar[group]), np.diag(inverse), rtol=1e-5)


def test_the_bound_is_tight_at_the_optimum_and_has_no_slope_there():
  truth, params = make(0)
  mean, error, grads = estimate(params, truth)
  evidence = np.array([truth.evidence(group) for group in range(GROUPS)])
  assert error.max() < 0.03
  np.testing.assert_array_less(np.abs(mean - evidence), 4 * error)
  for name in ("content_map", "content_logvar", "style_map", "style_logvar"):
    slope = np.asarray(grads[name], np.float64)
    its_error = slope.std(0) / np.sqrt(len(KEYS))
    assert np.all(np.abs(slope.mean(0)) < 5 * its_error + 1e-4), name


@pytest.mark.parametrize("name", ["content_map", "content_logvar", "style_map", "style_logvar"])
def test_elsewhere_it_is_below_by_the_kl_to_the_posterior(name):
  """ELBO = evidence - KL(q || posterior), with q and the KL worked out here, in float64."""
  truth, params = make(1)
  params = params | {name: params[name] * 0.6 + 0.3}
  mean, error, _ = estimate(params, truth)
  found = mlvae.infer(Linear(), params, jnp.asarray(truth.x, jnp.float32), IDS, GROUPS)
  for group in range(GROUPS):
    rows = np.flatnonzero(group == IDS)
    q_mean = np.concatenate(
      [found.content.mu[rows[0]], np.asarray(found.style.mu)[rows].reshape(-1)]
    )
    logvar = np.concatenate(
      [found.content.logvar[rows[0]], np.asarray(found.style.logvar)[rows].reshape(-1)]
    )
    p_mean, covariance = truth.posterior(group)
    precision = np.linalg.inv(covariance)
    gap = q_mean - p_mean
    kl = 0.5 * (
      np.sum(np.diag(precision) * np.exp(logvar))
      + gap @ precision @ gap
      - len(gap)
      - logvar.sum()
      + np.linalg.slogdet(covariance)[1]
    )
    assert kl > 10 * error[group]  # far enough below to tell
    assert abs(mean[group] - (truth.evidence(group) - kl)) < 4 * error[group] + 1e-3


def test_where_the_posterior_does_not_factorize_the_bound_is_below():
  truth, params = make(2, orthogonal=False)
  mean, error, _ = estimate(params, truth)
  evidence = np.array([truth.evidence(group) for group in range(GROUPS)])
  assert np.all(mean < evidence - 4 * error)
