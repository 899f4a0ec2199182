"""Weighted, lifted and pairwise forms: what they are sums of, their gradients, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.losses import oracle
from vqlab import losses


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  return np.float32(2 * rng.normal(size=(40, 5))), rng.integers(0, 5, 40)


def test_scaled_losses():
  a = jnp.linspace(-3, 3, 61)
  for loss in oracle.PLAIN[::4]:
    scaled = 2.5 * loss
    assert scaled == losses.ScaledLoss(loss, 2.5) == loss * 2.5 and hash(scaled) == hash(loss * 2.5)
    for name in ("value", "deriv", "deriv2"):
      np.testing.assert_allclose(getattr(scaled, name)(a), 2.5 * getattr(loss, name)(a), rtol=1e-6)
  scaled = 3.0 * (0.5 * losses.ModifiedHuberLoss())
  np.testing.assert_array_equal(jax.vmap(jax.grad(scaled.value))(jnp.array([-1.0, 1.0])), [-6, 0])
  assert float(scaled.deriv2(jnp.float32(1))) == 3
  assert float((2.0 * losses.ExpLoss()).value(-jnp.inf)) == np.inf


def test_bfloat16_is_rounded_once():
  every = np.arange(2**16, dtype=np.uint16).view(jnp.bfloat16)
  with np.errstate(invalid="ignore"):
    wide = every.astype(np.float32)
  every = every[np.isfinite(wide) & (abs(wide) < 80)]
  loss = losses.LogitMarginLoss()
  true = oracle.truth(loss, 0, every) * np.float32(0.3)
  for form in (0.3 * loss, functools.partial(losses.weighted(loss, positive=0.3), target=1)):
    found = form.value(every) if hasattr(form, "value") else form(every)
    assert oracle.ulps(found, true, jnp.bfloat16).max() < 0.51


def test_weighted_losses(batch):
  output = batch[0][:, 0]
  target = np.where(batch[1] > 2, 1, -1)
  for loss in (losses.LogitMarginLoss(), losses.L1HingeLoss()):
    weighted = losses.weighted(loss, positive=0.3)
    weight = np.where(target > 0, np.float32(0.3), np.float32(0.7))
    for name in ("__call__", "value", "deriv", "deriv2"):
      found = getattr(weighted, name)(output, target)
      np.testing.assert_allclose(found, weight * getattr(loss, name)(output, target), rtol=1e-6)
    slope = jax.jit(jax.vmap(jax.grad(weighted)))(output, target)
    np.testing.assert_allclose(slope, weighted.deriv(output, target), rtol=1e-6)


def test_weighted_losses_nest_and_hash():
  loss = losses.ExpLoss()
  twice = losses.weighted(2.0 * losses.weighted(3.0 * loss, positive=0.25), positive=0.4)
  assert twice == losses.WeightedLoss(3.0 * loss, 0.4 * 0.5, 0.6 * 1.5)
  assert hash(twice) == hash(
    losses.weighted(losses.weighted(3.0 * loss, positive=0.25) * 2.0, positive=0.4)
  )
  run = jax.jit(lambda loss, o: loss(o, 1), static_argnums=0)
  assert float(run(twice, 0.0)) == pytest.approx(3 * 0.2)


def test_one_vs_rest_is_a_sum_of_binary_losses(batch):
  logits, labels = batch
  for loss in (losses.LogitMarginLoss(), losses.weighted(losses.L2HingeLoss(), positive=0.8)):
    total = sum(loss(logits[:, c], np.where(labels == c, 1, -1)) for c in range(5))
    np.testing.assert_allclose(losses.one_vs_rest(loss, logits, labels), total, rtol=1e-6)


def test_crammer_singer_is_the_loss_of_the_margin(batch):
  logits, labels = batch
  others = np.where(np.arange(5) == labels[:, None], -np.inf, logits).max(-1)
  margin = logits[np.arange(40), labels] - others
  for loss in oracle.USUAL[::3]:
    found = losses.crammer_singer(loss, logits, labels)
    np.testing.assert_allclose(found, loss.value(margin), rtol=1e-6)
  two = logits[:, :2]
  found = losses.crammer_singer(losses.ExpLoss(), two, labels % 2)
  binary = losses.ExpLoss()(two[:, 1] - two[:, 0], losses.from_labels01(labels % 2))
  np.testing.assert_allclose(found, binary, rtol=1e-6)


@jax.jit
@jax.value_and_grad
def hinge_and_slope(logits, label):
  return losses.crammer_singer(losses.L1HingeLoss(), logits, label)


def test_of_equal_scores_the_first_gets_the_gradient():
  slope = hinge_and_slope(np.zeros(4, np.float32), 1)[1]
  np.testing.assert_array_equal(slope, [1, -1, 0, 0])


@pytest.mark.parametrize("label", [0, 1, 3])
def test_classes_out_of_the_question(label):
  """Where every other logit is -inf there is no mistake to make, whichever the label is."""
  logits = np.full(4, -np.inf, np.float32)
  logits[label] = 0.3
  value, slope = hinge_and_slope(logits, label)
  assert float(value) == 0
  np.testing.assert_array_equal(slope, 0)
  logits[(label + 2) % 4] = 0.1
  value, slope = hinge_and_slope(logits, label)
  assert float(value) == pytest.approx(0.8, rel=1e-6)
  others = np.arange(4)
  np.testing.assert_array_equal(slope, 1.0 * (others == (label + 2) % 4) - (others == label))


@pytest.mark.parametrize("lift", [losses.one_vs_rest, losses.crammer_singer])
def test_lifted_shapes_masks_and_labels(batch, lift):
  logits, labels = batch
  loss = losses.ModifiedHuberLoss()
  grid = lift(loss, logits.reshape(4, 10, 5), labels.reshape(4, 10))
  shape_of = functools.partial(jax.eval_shape, functools.partial(lift, loss))
  assert shape_of(logits.astype(jnp.bfloat16), labels).dtype == jnp.bfloat16
  padded, wrong = jnp.asarray(logits).at[3].set(jnp.nan), labels.copy()
  wrong[3] = -1
  where = jnp.arange(40) != 3
  all_right = lift(loss, logits, np.int8(labels))
  np.testing.assert_array_equal(grid.reshape(40), all_right)
  np.testing.assert_array_equal(
    lift(loss, padded, wrong, where=where), np.where(where, all_right, 0)
  )
  kept = lambda x, labels: jnp.sum(lift(loss, x, labels, where=where))
  slope = jax.jit(jax.grad(kept))(padded, wrong)
  assert np.isfinite(slope).all() and not slope[3].any() and slope[2].any()
  run = jax.jit(lambda x, labels: jax.vjp(lambda x: lift(loss, x, labels), x))
  traced, back = run(logits, wrong)
  np.testing.assert_array_equal(np.isnan(traced), ~where)
  (slope,) = back(jnp.ones(40))  # NaN as well: what is not known to be wrong must not train
  np.testing.assert_array_equal(np.isnan(slope), np.tile(~where[:, None], 5))


def test_pairwise_is_bpr():
  rng = np.random.default_rng(1)
  positive, negative = (jnp.asarray(rng.normal(size=(64, k)), jnp.float32) for k in (1, 8))
  bpr = functools.partial(losses.pairwise, losses.LogitMarginLoss())

  @jax.jit
  def run(positive, negative):
    half = positive.astype("bfloat16")
    found, back = jax.vjp(bpr, positive, negative)
    return found, back(jnp.ones_like(found)), half, bpr(half, 0.25), bpr(0.25, half)

  found, (up, down), half, *halves = run(positive, negative)
  difference = np.float64(positive - negative)
  np.testing.assert_allclose(found, np.logaddexp(0, -difference), rtol=1e-6)
  slope = -1 / (1 + np.exp(difference))
  np.testing.assert_allclose(up, slope.sum(1, keepdims=True), rtol=1e-6)
  np.testing.assert_allclose(down, -slope, rtol=1e-6)
  assert float(bpr(2.0, 1.0)) == pytest.approx(np.log1p(np.exp(-1)), rel=1e-6)
  for found, other in zip(halves, (1.0, -1.0), strict=True):  # Python's numbers have no dtype
    assert found.dtype == jnp.bfloat16 and found.shape == half.shape
    margin = other * (np.float64(half) - 0.25)
    np.testing.assert_allclose(np.float64(found), np.logaddexp(0, -margin), rtol=2**-8)
  for loss in oracle.USUAL[::3]:  # any loss ranks
    values = losses.pairwise(loss, positive, negative)
    np.testing.assert_array_equal(values, loss.value(positive - negative))
  assert losses.pairwise(loss, positive.astype("bfloat16"), negative.astype("bfloat16")).dtype == (
    jnp.bfloat16
  )


def test_bad_input_is_named():
  loss, ones = losses.L1HingeLoss(), jnp.ones((4, 3))
  labels = jnp.zeros(4, jnp.int32)
  for weight in (0, 1.0, -0.5, 2):
    with pytest.raises(ValueError, match=r"weighted: positive is .*; it must be"):
      losses.weighted(loss, positive=weight)
  with pytest.raises(ValueError, match="WeightedLoss: targets must be -1 or 1; found 0"):
    losses.weighted(loss, positive=0.5)(ones, 0)
  for name in ("one_vs_rest", "crammer_singer"):
    lift = getattr(losses, name)
    with pytest.raises(ValueError, match=rf"{name}: labels must be int\[4\] for logits \[4, 3\]"):
      lift(loss, ones, labels[:, None])
    with pytest.raises(ValueError, match=rf"{name}: labels must be int\[4\].*float32\[4\]"):
      lift(loss, ones, jnp.zeros(4))
    with pytest.raises(ValueError, match=rf"{name}: labels run from 3 to 3; .* in \[0, 3\)"):
      lift(loss, ones, labels + 3)
    with pytest.raises(ValueError, match=f"{name}: labels run from 0 to 4294967296"):
      lift(loss, ones, np.int64([0, 0, 0, 2**32]))
    with pytest.raises(ValueError, match=rf"{name}: where must be bool\[4\]"):
      lift(loss, ones, labels, where=jnp.ones(4))
  with pytest.raises(ValueError, match=r"positive \[4\] and negative \[4, 3\] must have as many"):
    losses.pairwise(loss, ones[:, 0], ones)
