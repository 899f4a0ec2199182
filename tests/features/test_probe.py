"""Probes find what is there and no more; few-shot accuracy against a loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from vqlab.features import LinearClassifier, MLPClassifier, few_shot, fit_probe, score_probe

KEY = jax.random.key(0)


def clusters(seed, num=1500, spread=0.9):
  """Three classes around the corners of a triangle, far from the origin and stretched."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 3, num)
  corners = np.array([[0, 0], [2, 0], [1, 1.7]])
  points = corners[labels] + spread * rng.normal(size=(num, 2))
  return np.float32(points * [1, 300] + [50, -7]), labels.astype(np.int32)


def test_a_linear_probe_is_logistic_regression():
  (x, y), (test_x, test_y) = clusters(0), clusters(1)
  model = LinearClassifier(num_classes=3)
  found = score_probe(model, fit_probe(KEY, x, y, model=model, num_steps=600), test_x, test_y)
  scale = lambda points: (points - x.mean(0)) / x.std(0)
  peer = LogisticRegression(C=1e4).fit(scale(x), y)
  assert abs(found.accuracy - peer.score(scale(test_x), test_y)) < 0.01
  nats = log_loss(test_y, peer.predict_proba(scale(test_x)))
  np.testing.assert_allclose(found.cross_entropy, nats, rtol=0.02)
  shares = np.bincount(test_y) / len(test_y)
  np.testing.assert_allclose(found.entropy, -np.sum(shares * np.log(shares)), rtol=1e-5)
  np.testing.assert_allclose(found.information, found.entropy - found.cross_entropy, rtol=1e-4)


def test_an_mlp_sees_what_a_linear_probe_cannot():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(3000, 2)).astype(np.float32)
  y = np.int32(x[:, 0] * x[:, 1] > 0)
  accuracies = []
  for model in (LinearClassifier(num_classes=2), MLPClassifier(num_classes=2, hidden=(32,))):
    probe = fit_probe(KEY, x[:2000], y[:2000], model=model, num_steps=400)
    accuracies.append(float(score_probe(model, probe, x[2000:], y[2000:]).accuracy))
  assert accuracies[0] < 0.7 and accuracies[1] > 0.95


def test_features_of_16_bits_are_standardized_in_float32():
  x, y = clusters(0)
  model = LinearClassifier(num_classes=3)

  def found(x):
    return score_probe(model, fit_probe(KEY, x, y, model=model, num_steps=300), x, y)

  x = (1000 * x / x.std(axis=0)).astype(np.float16)  # whose squares are beyond float16
  expected = found(x.astype(np.float32))
  assert expected.accuracy > 0.6
  np.testing.assert_allclose(found(jnp.asarray(x)), expected, rtol=1e-6)


def test_of_noise_nothing_is_known():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(4000, 2)).astype(np.float32), rng.integers(0, 3, 4000).astype(np.int32)
  x[:, 1] = 0.1  # never changes; its standard deviation in float32 is not 0
  model = LinearClassifier(num_classes=3)
  found = score_probe(model, fit_probe(KEY, x[:2000], y[:2000], model=model), x[2000:], y[2000:])
  assert 0 <= found.information < 0.01 and abs(found.accuracy - 1 / 3) < 0.04


def by_hand(key, features, weights, ways, shots, episodes):
  shares = []
  for k in jax.random.split(key, episodes):
    class_key, example_key = jax.random.split(k)
    classes = np.asarray(jax.random.permutation(class_key, len(features)))[:ways]
    rows = jnp.tile(jnp.arange(features.shape[1]), (ways, 1))
    order = np.asarray(jax.random.permutation(example_key, rows, axis=1, independent=True))
    means, right = [], []
    for c, rows in zip(classes, order, strict=True):
      shown = rows[:shots]
      means.append(np.average(features[c, shown], axis=0, weights=weights[c, shown]))
    for i, (c, rows) in enumerate(zip(classes, order, strict=True)):
      for row in rows[shots:]:
        right.append(np.argmin([np.linalg.norm(features[c, row] - m) for m in means]) == i)
    shares.append(np.mean(right))
  return np.mean(shares), np.std(shares) / np.sqrt(episodes)


@pytest.mark.parametrize("shots", [1, 3])
def test_few_shot_by_hand(shots):
  rng = np.random.default_rng(0)
  features = (rng.normal(size=(8, 1, 4)) + rng.normal(size=(8, 6, 4))).astype(np.float32)
  weights = rng.uniform(0.1, 5, size=features.shape).astype(np.float32)
  options = {"ways": 5, "shots": shots, "num_episodes": 20}
  found = few_shot(KEY, jnp.asarray(features), weights=jnp.asarray(weights), **options)
  expected = by_hand(KEY, features, weights, 5, shots, 20)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  plain = few_shot(KEY, jnp.asarray(features), **options)
  np.testing.assert_allclose(
    plain, by_hand(KEY, features, np.ones_like(weights), 5, shots, 20), rtol=1e-4
  )


def test_few_shot_of_noise_is_chance_and_of_sure_features_is_one():
  rng = np.random.default_rng(1)
  noise = jnp.asarray(rng.normal(size=(10, 8, 5)), jnp.float32)
  found = few_shot(KEY, noise, ways=5, shots=2, num_episodes=200)
  assert abs(found.accuracy - 0.2) < 0.03 and 0 < found.standard_error < 0.01
  sure = noise * 1e-3 + jnp.eye(10)[:, None, :5] + jnp.arange(10.0)[:, None, None]
  assert few_shot(KEY, sure, ways=5, shots=2, num_episodes=200).accuracy == 1


def test_few_shot_is_the_same_with_an_offset_and_any_scale_of_weights():
  rng = np.random.default_rng(2)
  features = jnp.asarray(rng.normal(size=(10, 8, 5)) + 3 * np.eye(10)[:, None, :5], jnp.float32)
  weights = jnp.asarray(rng.uniform(0.5, 1, features.shape), jnp.float32)
  options = {"ways": 5, "shots": 2, "num_episodes": 100}
  found = few_shot(KEY, features, weights=weights, **options)
  moved = few_shot(KEY, features + 1000, weights=1e35 * weights, **options)
  np.testing.assert_allclose(moved.accuracy, found.accuracy, atol=0.005)
  half = few_shot(KEY, features.astype(jnp.bfloat16), **options)
  assert half.accuracy.dtype == jnp.float32


X, Y = np.zeros((8, 2), np.float32), np.zeros(8, np.int32)
LINEAR = LinearClassifier(num_classes=2)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: fit_probe(KEY, X[0], Y, model=LINEAR), r"features must be \[N, F\]; found \[2\]"),
    (lambda: fit_probe(KEY, X, Y + 2, model=LINEAR), "labels run from 2 to 2; they must be in"),
    (
      lambda: score_probe(LINEAR, fit_probe(KEY, X, Y, model=LINEAR, num_steps=1), X[:, :1], Y),
      r"must be \[M, 2\] and labels int\[M\]; found \[8, 1\] and \[8\]",
    ),
    (lambda: few_shot(KEY, jnp.zeros((4, 3)), ways=2, shots=1), r"must be \[C, P, F\]; found"),
    (lambda: few_shot(KEY, jnp.zeros((4, 3, 2)), ways=5, shots=1), "5 ways and 1 shots of 4 cl"),
    (lambda: few_shot(KEY, jnp.zeros((4, 3, 2)), ways=2, shots=3), "there must be as many"),
    (lambda: few_shot(KEY, jnp.zeros((4, 3, 2)), ways=1, shots=1), "ways is 1; it must be at l"),
  ],
)
def test_bad_input(call, message):
  with pytest.raises(ValueError, match=message):
    call()
