"""Against Optax and scikit-learn where they have the loss, and where they differ."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import linear_model, metrics

from vqlab import losses


@pytest.fixture(scope="module")
def scores():
  rng = np.random.default_rng(0)
  return np.float32(3 * rng.normal(size=200)), rng.choice([-1, 1], 200)


def test_optax_binary(scores):
  output, target = scores
  floats = np.float32(target)
  close = lambda x, y: np.testing.assert_allclose(x, y, rtol=3e-6, atol=1e-7)
  close(losses.L1HingeLoss()(output, target), optax.hinge_loss(output, floats))
  close(losses.PerceptronLoss()(output, target), optax.losses.perceptron_loss(output, floats))
  labels01 = (floats + 1) / 2  # the cross entropy takes these, the two above do not
  logit = losses.LogitMarginLoss()(output, losses.from_labels01(labels01))
  close(logit, optax.sigmoid_binary_cross_entropy(output, labels01))


def test_optax_differs_at_kinks():
  """jnp.maximum splits the gradient of a tie in two; the one-sided value is LossFunctions.jl's."""
  one, zero = jnp.float32(1), jnp.float32(0)
  assert float(jax.grad(optax.hinge_loss)(one, one)) == -0.5
  assert float(jax.grad(losses.L1HingeLoss())(one, one)) == 0
  assert float(jax.grad(optax.losses.perceptron_loss)(zero, one)) == -0.5
  assert float(jax.grad(losses.PerceptronLoss())(zero, one)) == 0


def test_optax_multiclass():
  rng = np.random.default_rng(1)
  logits, labels = np.float32(rng.normal(size=(50, 6))), rng.integers(0, 6, 50)
  found = losses.crammer_singer(losses.L1HingeLoss(), logits, labels)
  with jax.numpy_dtype_promotion("standard"):
    hinge = jax.vmap(optax.losses.multiclass_hinge_loss)(logits, labels)
    perceptron = jax.vmap(optax.losses.multiclass_perceptron_loss)(logits, labels)
  np.testing.assert_allclose(found, hinge, rtol=1e-5, atol=1e-6)
  found = losses.crammer_singer(losses.PerceptronLoss(), logits, labels)
  np.testing.assert_allclose(found, perceptron, rtol=1e-5, atol=1e-6)


def test_scikit_learn_metrics(scores):
  output, target = scores
  hinge = losses.reduce(losses.L1HingeLoss()(output, target))
  assert float(hinge) == pytest.approx(metrics.hinge_loss(target, output), rel=1e-6)
  errors = losses.reduce(losses.ZeroOneLoss()(output, target))
  assert float(errors) == pytest.approx(metrics.zero_one_loss(target, np.sign(output)), rel=1e-6)
  # A score of 0 predicts neither class for scikit-learn, and is no error for ZeroOneLoss.
  assert metrics.zero_one_loss([1], [0]) == 1 and float(losses.ZeroOneLoss()(0.0, 1)) == 0
  logit = losses.reduce(losses.LogitMarginLoss()(output, target))
  p = 1 / (1 + np.exp(-np.float64(output)))
  assert float(logit) == pytest.approx(metrics.log_loss(target, p), rel=1e-6)
  rng = np.random.default_rng(2)
  logits, labels = np.float32(rng.normal(size=(50, 4))), np.arange(50) % 4
  lifted = losses.reduce(losses.crammer_singer(losses.L1HingeLoss(), logits, labels))
  assert float(lifted) == pytest.approx(metrics.hinge_loss(labels, logits), rel=1e-6)


@pytest.mark.parametrize(
  ("name", "loss"),
  [
    ("hinge", losses.L1HingeLoss()),
    ("squared_hinge", losses.L2HingeLoss()),
    ("modified_huber", losses.ModifiedHuberLoss()),
    ("log_loss", losses.LogitMarginLoss()),
    ("perceptron", losses.PerceptronLoss()),
  ],
)
def test_scikit_learn_takes_the_same_steps(name, loss):
  """One pass of its SGDClassifier, example by example, is a loop over `deriv`."""
  rng = np.random.default_rng(3)
  x, target = rng.normal(size=(60, 4)), rng.choice([-1, 1], 60)
  rate = 0.01
  peer = linear_model.SGDClassifier(
    loss=name, alpha=0.0, learning_rate="constant", eta0=rate, max_iter=1, tol=None, shuffle=False
  )
  peer.fit(x, target)
  weight, bias = np.zeros(4), 0.0
  for row, y in zip(x, target, strict=True):
    score = np.float32(row @ weight + bias)
    # The perceptron steps at its kink, where it must or would never leave the weights 0.
    at_kink = name == "perceptron" and score == 0
    slope = float(-y if at_kink else loss.deriv(score, y))
    weight -= rate * slope * row
    bias -= rate * slope
  np.testing.assert_allclose(peer.coef_[0], weight, rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(peer.intercept_[0], bias, rtol=1e-5, atol=1e-7)
