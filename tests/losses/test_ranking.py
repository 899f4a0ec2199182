"""Ranking losses: their formulas in NumPy, their gradients, what they have in common."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vqlab import losses


def drawn(seed=0, users=5, negatives=4, dtype=np.float64):
  rng = np.random.default_rng(seed)
  scores = lambda *shape: jnp.asarray(rng.uniform(-1, 1, shape).astype(dtype))
  return scores(users), scores(users, negatives)


def test_formulas(x64):
  positive, negatives = drawn()
  p, n = np.asarray(positive), np.asarray(negatives)
  softmax = -np.log(np.exp(p) / (np.exp(p) + np.exp(n).sum(1)))
  np.testing.assert_allclose(losses.sampled_softmax(positive, negatives), softmax, rtol=1e-12)
  cosine = 1 - p + 3 * np.maximum(0, n - 0.2).mean(1)
  ours = losses.cosine_contrastive(positive, negatives, margin=0.2, weight=3)
  np.testing.assert_allclose(ours, cosine, rtol=1e-12)


def test_gradients(x64):
  check_grads(losses.sampled_softmax, drawn(1), order=2, modes=["rev"])
  loss = lambda p, n: losses.cosine_contrastive(p, n, margin=0.2, weight=3)
  check_grads(loss, drawn(1), order=1, modes=["rev"])


def test_one_negative_is_bpr(x64):
  positive, negatives = drawn(2, negatives=1)
  bpr = losses.pairwise(losses.LogitMarginLoss(), positive[:, None], negatives)[:, 0]
  np.testing.assert_allclose(losses.sampled_softmax(positive, negatives), bpr, rtol=1e-12)


def test_what_counts_for_nothing():
  positive, negatives = jnp.array([0.5]), jnp.array([[0.1, -jnp.inf, -0.9]])
  for loss in (
    losses.sampled_softmax,
    lambda p, n: losses.cosine_contrastive(p, n, margin=0.2, weight=3),
  ):
    value, grads = jax.value_and_grad(lambda *x, loss=loss: loss(*x)[0], (0, 1))(
      positive, negatives
    )
    assert np.isfinite(value) and np.isfinite(grads[0]).all() and grads[1][0, 1] == 0


def test_half_precision_is_computed_in_float32():
  positive, negatives = drawn(3, dtype=np.float32)
  half = positive.astype(jnp.bfloat16), negatives.astype(jnp.bfloat16)
  ours = losses.sampled_softmax(*half)
  assert ours.dtype == jnp.bfloat16
  wide = losses.sampled_softmax(*(x.astype(jnp.float32) for x in half))
  np.testing.assert_array_equal(ours, wide.astype(jnp.bfloat16))
  # A thousand equal logits: exponents added up in eight bits would stop at 256.
  many = losses.sampled_softmax(jnp.zeros(1), jnp.zeros((1, 999)))
  np.testing.assert_allclose(many, np.log(1000), rtol=1e-6)


def test_shapes_that_do_not_agree():
  for loss in (losses.sampled_softmax, losses.cosine_contrastive):
    options = {} if loss is losses.sampled_softmax else {"margin": 0.5, "weight": 1.0}
    with pytest.raises(ValueError, match=r"positives \[2\] and of negatives \[3, 4\] must be"):
      loss(jnp.zeros(2), jnp.zeros((3, 4)), **options)
