"""Bounds by several samples, and VIMCO's gradient, against a model that can be enumerated.

Four binary latents: 16 states, p(x, z) a table, q a product of Bernoullis. With S samples the
bound's expectation is a sum over 16^S states, whose exact gradient is automatic differentiation's.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import losses

STATES = np.array([[int(bit) for bit in f"{i:04b}"] for i in range(16)])
DRAWS, CHUNK = 10**6, 10**4


def log_q(logits: jax.Array) -> jax.Array:
  """log q of all 16 states."""
  return jnp.sum(jax.nn.log_sigmoid(jnp.where(STATES == 1, logits, -logits)), axis=1)


@pytest.fixture(scope="module")
def model():
  """Logits of q, and log p(x, z) of all states."""
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    yield {"q": jnp.asarray(rng.normal(size=4)), "p": jnp.asarray(1.5 * rng.normal(size=16))}


def expected_bound(model, samples: int) -> jax.Array:
  """E[L], by going through every choice of samples."""
  every = jnp.stack(jnp.meshgrid(*[jnp.arange(16)] * samples, indexing="ij")).reshape(samples, -1)
  q = log_q(model["q"])
  bounds = losses.multisample_bound((model["p"] - q)[every])
  return jnp.sum(jnp.exp(q[every].sum(0)) * bounds)


def vimco(model, z):
  q = log_q(model["q"])
  return losses.vimco((model["p"] - q)[z], q[z])


def score_function(model, z):
  """The bound with the plain estimate: no baseline."""
  q = log_q(model["q"])
  bound = losses.multisample_bound((model["p"] - q)[z])
  return bound + jnp.sum(jax.lax.stop_gradient(bound) * (q[z] - jax.lax.stop_gradient(q[z])))


def moments(model, estimators, samples: int) -> list[tuple[dict, dict]]:
  """Mean and variance of each estimator's gradient over 10^6 draws."""

  @jax.jit
  def sums(key):
    z = jax.random.categorical(key, log_q(model["q"]), shape=(CHUNK, samples))
    gradients = [jax.vmap(jax.grad(f), (None, 0))(model, z) for f in estimators]
    return [jax.tree.map(lambda g: (g.sum(0), jnp.square(g).sum(0)), g) for g in gradients]

  total = None
  for key in jax.random.split(jax.random.key(1), DRAWS // CHUNK):
    found = sums(key)
    total = found if total is None else jax.tree.map(jnp.add, total, found)
  of = lambda pair: (pair[0] / DRAWS, pair[1] / DRAWS - jnp.square(pair[0] / DRAWS))
  return [{name: of(pair) for name, pair in g.items()} for g in total]


def test_vimcos_mean_is_the_exact_gradient_and_its_variance_far_below(x64, model):
  exact = jax.grad(expected_bound)(model, 3)
  ours, plain = moments(model, (vimco, score_function), 3)
  for name, (mean, variance) in ours.items():
    errors = np.abs(mean - exact[name]) / np.sqrt(variance / DRAWS)
    assert errors.max() < 3, (name, errors)
    assert np.abs(exact[name]).max() > 0.05  # a gradient of 0 would pass
  # 56 times, measured.
  assert plain["q"][1].sum() > 40 * ours["q"][1].sum()


def test_more_samples_are_a_tighter_bound_of_the_evidence(x64, model):
  evidence = float(jax.nn.logsumexp(model["p"]))
  bounds = [float(expected_bound(model, samples)) for samples in (1, 2, 3)]
  weights = model["p"] - log_q(model["q"])
  z = jax.random.categorical(jax.random.key(0), log_q(model["q"]), shape=(50, 20000))
  fifty = losses.multisample_bound(weights[z])
  error = float(jnp.std(fifty)) / np.sqrt(20000)
  bounds.append(float(fifty.mean()))
  assert np.all(np.diff([*bounds, evidence]) > 0)
  assert evidence - bounds[0] > 0.5 and evidence - bounds[-1] < 0.03 and error < 0.003


def test_exact_posterior_makes_any_number_of_samples_exact(x64):
  log_p = jnp.log(jnp.asarray([0.1, 0.2, 0.3, 0.15]))
  posterior = jax.nn.log_softmax(log_p)
  z = jnp.asarray([[0, 1], [3, 3], [2, 0]])
  np.testing.assert_allclose(
    losses.multisample_bound((log_p - posterior)[z]), np.log(0.75), rtol=1e-12
  )


def test_weights_far_apart_stay_finite():
  log_weights = jnp.asarray([[-9e3, 0.0], [-20.0, 1e4], [-8e3, -1e4]])
  value, gradient = jax.value_and_grad(lambda q: losses.vimco(log_weights - q, q).sum())(
    jnp.zeros((3, 2))
  )
  assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize(("shape", "other"), [((1, 4), (1, 4)), ((3, 4), (3,)), ((), ())])
def test_bad_input(shape, other):
  with pytest.raises(ValueError, match=r"one shape .* at least 2 samples; found"):
    losses.vimco(jnp.zeros(shape), jnp.zeros(other))
