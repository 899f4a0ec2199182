"""Reductions: true means, what is masked, dtypes, gradients, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import losses


def test_all_modes_against_numpy():
  rng = np.random.default_rng(0)
  values = np.float32(rng.normal(size=(4, 5, 6)))
  weights = np.float32(rng.uniform(size=(4, 5, 6)))
  where = rng.random((4, 5, 6)) < 0.8
  where[..., 0] = where[:, 0] = True  # every sum has a term
  for axis in (None, 0, -1, (0, 2)):
    for w in (None, weights):
      for mask in (None, where):
        kept = np.ones(values.shape) if mask is None else np.float64(mask)
        scale = kept if w is None else kept * w
        total = (scale * values).sum(axis)  # in float64, as a mean near 0 needs
        options = {"weights": w, "where": mask}
        found = losses.reduce(values, "sum", axis=axis, **options)
        np.testing.assert_allclose(found, total, rtol=1e-6, atol=2e-6)
        found = losses.reduce(values, "mean", axis=axis, **options)
        np.testing.assert_allclose(found, total / scale.sum(axis), rtol=1e-6, atol=2e-7)
        if axis is None:
          terms = np.float32(scale * values)
          np.testing.assert_array_equal(losses.reduce(values, "none", **options), terms)


def test_the_weighted_mean_is_one():
  """LossFunctions.jl divides by the number of values as well: 1.0 here (its documented example)."""
  values, weights = jnp.array([1.0, 3.0, 5.0]), jnp.array([1, 2, 1])
  assert float(losses.reduce(values, weights=weights)) == 3
  assert float(losses.reduce(values, weights=1000 * weights)) == 3
  assert float(losses.reduce(jnp.full(7, 2.5), weights=jnp.arange(7))) == 2.5


def test_masked_values_count_for_nothing():
  values = jnp.array([1.0, jnp.nan, 3.0, jnp.inf])
  weights = jnp.array([1.0, -1.0, 3.0, jnp.nan])
  where = jnp.array([True, False, True, False])
  assert float(losses.reduce(values, weights=weights, where=where)) == 2.5
  assert float(losses.reduce(values, "sum", where=where)) == 4
  np.testing.assert_array_equal(losses.reduce(values, "none", where=where), [1, 0, 3, 0])
  run = lambda v: losses.reduce(v, weights=weights, where=where)
  np.testing.assert_array_equal(jax.grad(run)(values), [0.25, 0, 0.75, 0])
  run = lambda w: losses.reduce(values, weights=w, where=where)
  np.testing.assert_allclose(jax.jit(jax.grad(run))(weights), [-0.375, 0, 0.125, 0])
  assert np.isnan(losses.reduce(values))  # and unmasked, NaN is not overlooked


def test_nothing_left_has_no_mean():
  values, nothing = jnp.ones(3), jnp.zeros(3, bool)
  assert np.isnan(losses.reduce(values, where=nothing))
  assert np.isnan(losses.reduce(values, weights=jnp.zeros(3)))
  assert float(losses.reduce(values, "sum", where=nothing)) == 0


def test_bfloat16_is_added_up_in_float32():
  values = jnp.full(4096, 1.0078125, jnp.bfloat16)
  total = losses.reduce(values, "sum")
  assert total.dtype == jnp.bfloat16 and float(total) == 4128
  mean = losses.reduce(values, weights=jnp.ones(4096, jnp.float32))
  assert mean.dtype == jnp.bfloat16 and float(mean) == 1.0078125


def test_with_a_loss_under_a_mask():
  loss = losses.ExpLoss()
  output = jnp.array([0.5, jnp.nan, -1.0])
  target, where = jnp.array([1, 1, -1]), jnp.array([True, False, True])

  def objective(output):
    return losses.reduce(loss(output, target, where=where), where=where)

  value, slope = jax.jit(jax.value_and_grad(objective))(output)
  assert float(value) == pytest.approx((np.exp(-0.5) + np.exp(-1)) / 2, rel=1e-6)
  np.testing.assert_allclose(slope, [-np.exp(-0.5) / 2, 0, np.exp(-1) / 2], rtol=1e-6)


def test_bad_input_is_named():
  values = jnp.ones(3)
  with pytest.raises(ValueError, match="mode is 'average'; it must be 'none', 'sum' or 'mean'"):
    losses.reduce(values, "average")
  with pytest.raises(ValueError, match=r"values \[3\] and weights \[3, 1\] must have one shape"):
    losses.reduce(values, weights=jnp.ones((3, 1)))
  with pytest.raises(ValueError, match=r"where must be bool\[3\]; found int32\[3\]"):
    losses.reduce(values, where=jnp.ones(3, jnp.int32))
  with pytest.raises(ValueError, match=r"where must be bool\[3\]; found bool\[1\]"):
    losses.reduce(values, where=jnp.ones(1, bool))
