"""Small classifiers and the Classification Accuracy Score, on scikit-learn's 8x8 digits."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vqlab import features, metrics

TINY = features.SmallClassifier(num_classes=10, widths=(8, 16), blocks=1)
ADAM = optax.adam(1e-2)


@pytest.fixture(scope="module")
def digits():
  load = pytest.importorskip("sklearn.datasets").load_digits
  images, labels = load(return_X_y=True)
  order = np.random.default_rng(0).permutation(len(labels))
  images = (images * 15.9).astype(np.uint8).reshape(-1, 8, 8, 1)[order]
  labels = labels.astype(np.int32)[order]
  return (images[:1200], labels[:1200]), (images[1200:], labels[1200:])


@pytest.fixture(scope="module")
def params():
  return jax.jit(TINY.init)(jax.random.key(1), jnp.zeros((1, 8, 8, 1)))


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (33, 9, 3)])
def test_shapes_of_any_size(shape):
  model = features.SmallClassifier(num_classes=7)
  images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), images)
  assert set(params) == {"params"}
  assert jax.eval_shape(model.apply, params, images).shape == (2, 7)
  pooled = jax.eval_shape(lambda p, x: model.apply(p, x, method="features"), params, images)
  assert pooled.shape == (2, 128)


def test_examples_are_independent_and_dropout_is_for_training(params):
  x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
  apply = jax.jit(TINY.apply, static_argnames=("train", "method"))
  whole = apply(params, x)
  np.testing.assert_allclose(apply(params, x[2:]), whole[2:], rtol=1e-4, atol=1e-5)
  rngs = [{"dropout": jax.random.key(i)} for i in (0, 0, 1)]
  first, again, other = (apply(params, x, train=True, rngs=r) for r in rngs)
  np.testing.assert_array_equal(first, again)
  assert not np.allclose(first, other) and not np.allclose(first, whole)
  head = params["params"]["head"]
  logits = apply(params, x, method="features") @ head["kernel"] + head["bias"]
  np.testing.assert_allclose(logits, whole, rtol=1e-4, atol=1e-5)


def test_bytes_are_scaled_and_bfloat16_gives_float32_logits(params):
  x = jax.random.randint(jax.random.key(0), (2, 8, 8, 1), 0, 256).astype(jnp.uint8)
  model = TINY.clone(dtype=jnp.bfloat16)
  exact = jax.jit(TINY.apply)(params, x)
  floats = x.astype(jnp.float32) / 255 - 0.5
  np.testing.assert_allclose(jax.jit(TINY.apply)(params, floats), exact, rtol=1e-4, atol=1e-5)
  rough = jax.jit(model.apply)(params, x)
  assert rough.dtype == jnp.float32
  np.testing.assert_allclose(rough, exact, atol=0.1)


@pytest.mark.slow
def test_score_tells_good_samples_from_bad(digits):
  (images, labels), (real, real_labels) = digits
  options = {"model": TINY, "num_steps": 150, "batch_size": 64, "optimizer": ADAM}
  # Convolutions in a loop: unoptimized code (tests/conftest.py) would take a minute.
  compute = jax.jit(
    functools.partial(features.classification_accuracy_score, **options),
    compiler_options={"xla_backend_optimization_level": 2},
  )
  key = jax.random.key(0)
  score = compute(key, images, labels, real, real_labels)
  assert score.top1 > 0.93 and score.top5 > 0.99
  assert score.losses.shape == (150,) and score.losses[-1] < 0.3 < score.losses[0]
  # A model that drops three classes loses their share.
  some = np.flatnonzero(labels < 7)[:800]
  some = np.resize(some, 1200)
  worse = compute(key, images[some], labels[some], real, real_labels)
  assert 0.55 < worse.top1 < 0.75


def test_linear_classifier_equals_logistic_regression(digits):
  linear_model = pytest.importorskip("sklearn.linear_model")
  (images, labels), (real, real_labels) = digits
  flat = lambda x: x.reshape(len(x), -1) / 255 - 0.5
  theirs = linear_model.LogisticRegression(max_iter=500).fit(flat(images), labels)
  score, again = (
    features.classification_accuracy_score(
      jax.random.key(0), images, labels, real, real_labels,
      model=features.LinearClassifier(10), num_steps=400, optimizer=ADAM,
    )
    for _ in range(2)
  )  # fmt: skip
  assert abs(score.top1 - theirs.score(flat(real), real_labels)) < 0.02
  np.testing.assert_array_equal(again.losses, score.losses)


def test_accuracy_of_a_classifier_whatever_the_batch(digits):
  _, (real, labels) = digits
  model = features.LinearClassifier(10)
  params = model.init(jax.random.key(0), real)["params"]
  logits = model.apply({"params": params}, real)
  for size in (100, 1024):
    top1, top3 = features.classifier_accuracy(
      model, params, real, labels, ks=(1, 3), batch_size=size
    )
    assert top1 == metrics.accuracy(logits, jnp.asarray(labels))
    assert top3 == metrics.accuracy(logits, jnp.asarray(labels), k=3)


def test_an_epoch_sees_every_example_once():
  # The gradient of this "model" counts how often each example was seen.
  class Counter(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
      seen = self.param("seen", nn.initializers.zeros, (12,))
      return jnp.stack([x @ seen, jnp.zeros(len(x))], axis=-1)

  fitted = features.fit_classifier(
    jax.random.key(0), Counter(), jnp.eye(12), jnp.zeros(12, jnp.int32),
    num_steps=3, batch_size=4, optimizer=optax.sgd(8.0),
  )  # fmt: skip
  np.testing.assert_allclose(fitted.params["seen"], 1.0, rtol=1e-6)  # 8 * (1/4) * 1/2 each


LINEAR = features.LinearClassifier(10)
LINEAR_PARAMS = {"Dense_0": {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}}


@pytest.mark.parametrize("bad", [10, 255, -1])
def test_labels_out_of_range_are_named_before_training(bad, monkeypatch):
  monkeypatch.setattr(features.accuracy_score, "_fit", lambda *args, **kwargs: pytest.fail("fits"))
  images, good = jnp.zeros((4, 8, 8, 1)), jnp.arange(4)
  key, labels = jax.random.key(0), good.at[2].set(bad)
  low, high = min(bad, 0), max(bad, 3)
  message = rf"labels run from {low} to {high}; they must be in \[0, 10\)"
  for given in (labels, np.asarray(labels)):
    with pytest.raises(ValueError, match=message):
      features.fit_classifier(key, LINEAR, images, given)
    with pytest.raises(ValueError, match=message):
      features.classification_accuracy_score(key, images, given, images, good, model=LINEAR)
  if bad < 0:  # of a test it counts for nothing
    right = features.classifier_accuracy(LINEAR, LINEAR_PARAMS, images, labels, ks=(1,))[0]
    assert right == (1, 3)
    return
  message = rf"labels.* run from 0 to {bad}; they must be in \[-1, 10\)"
  with pytest.raises(ValueError, match=message):
    features.classifier_accuracy(LINEAR, LINEAR_PARAMS, images, labels)
  with pytest.raises(ValueError, match=message):
    features.classification_accuracy_score(key, images, good, images, labels, model=LINEAR)


def test_linear_classifier_in_bfloat16():
  model = LINEAR.clone(dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
  x = jax.random.normal(jax.random.key(0), (4, 64))
  params = model.init(jax.random.key(1), x)
  assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
  rough, exact = model.apply(params, x), LINEAR.apply(params, x)
  assert rough.dtype == exact.dtype == jnp.float32
  assert 0 < np.abs(rough - exact).max() < 0.1


def test_one_step_of_the_default_optimizer_trains():
  images, labels = jnp.ones((4, 8)), jnp.arange(4)
  fitted = features.fit_classifier(jax.random.key(0), LINEAR, images, labels, num_steps=1)
  assert np.abs(fitted.params["Dense_0"]["bias"]).max() > 1e-3


def test_one_model_a_device_under_shard_map():
  devices = jax.device_count()
  images = jax.random.normal(jax.random.key(0), (devices, 16, 4))
  labels = jax.random.randint(jax.random.key(1), (devices, 16), 0, 3)
  model = features.LinearClassifier(num_classes=3)
  optimizer = optax.chain(optax.add_noise(0.1, 0.5, 0), optax.sgd(0.5))  # whose state has a key
  fit = functools.partial(
    features.fit_classifier, jax.random.key(2), model,
    num_steps=5, batch_size=16, optimizer=optimizer,
  )  # fmt: skip
  mesh = jax.make_mesh((devices,), ("data",), (jax.sharding.AxisType.Auto,))
  mapped = jax.shard_map(
    lambda x, y: jax.tree.map(lambda a: a[None], fit(x[0], y[0])),
    mesh=mesh, in_specs=(jax.P("data"), jax.P("data")), out_specs=jax.P("data"),
  )  # fmt: skip
  together = jax.jit(mapped)(images, labels)
  for n in (0, devices - 1):
    mine, alone = jax.tree.map(lambda a, n=n: a[n], together), fit(images[n], labels[n])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), mine, alone)


def test_bad_input_is_named(digits):
  (images, labels), _ = digits
  key = jax.random.key(0)
  with pytest.raises(ValueError, match=r"labels int\[N\]"):
    features.fit_classifier(key, TINY, images, labels[:-1])
  with pytest.raises(ValueError, match="must be positive"):
    features.fit_classifier(key, TINY, images, labels, num_steps=0)
  with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
    features.classifier_accuracy(LINEAR, LINEAR_PARAMS, images, labels, batch_size=0)
  with pytest.raises(ValueError, match="alike but for their number"):
    features.classification_accuracy_score(key, images / 255, labels, images, labels, model=TINY)
  with pytest.raises(ValueError, match="8 at least"):
    TINY.init(key, jnp.zeros((1, 7, 8, 1)))
  with pytest.raises(ValueError, match="multiples of 8"):
    TINY.clone(widths=(12,)).init(key, jnp.zeros((1, 8, 8, 1)))
