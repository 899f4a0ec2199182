"""The bootstrap over users and runs: its interval holds the truth as often as it says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import metrics


def drawn(rng, runs, users, effect, of_run, of_user, noise):
  """float[S, U] whose mean is `effect` over all runs and users that could be."""
  each = effect + of_run * rng.normal(size=(runs, 1)) + of_user * rng.normal(size=(1, users))
  return each + noise * rng.normal(size=(runs, users))


@pytest.mark.parametrize(("runs", "theirs", "same"), [(1, 1, True), (12, 12, True), (12, 9, False)])
def test_it_covers_the_difference(runs, theirs, same):
  rng = np.random.default_rng(runs + theirs)
  between = jax.jit(
    functools.partial(metrics.paired_difference, num_resamples=400, same_seeds=same)
  )
  inside, widths = [], []
  spread = {"of_run": 0.0 if runs == 1 else 0.15, "of_user": 0.5, "noise": 0.3}
  for k in range(300):
    common = rng.normal(size=60) * 3  # what makes a user easy for both
    ours = common + drawn(rng, runs, 60, 0.2, **spread)
    other = common + drawn(rng, theirs, 60, 0.0, **spread)
    found = between(jnp.float32(ours), jnp.float32(other), key=jax.random.key(k))
    np.testing.assert_allclose(found.mean, ours.mean() - other.mean(), atol=1e-5)
    inside.append(found.low <= 0.2 <= found.high)
    widths.append(found.high - found.low)
  assert 0.90 <= np.mean(inside) <= 0.99
  assert np.mean(widths) < 0.6, "what users have in common is in no difference"


def test_equal_methods_do_not_differ():
  x = jnp.asarray(np.random.default_rng(0).random((3, 50), np.float32))
  for same in (True, False):
    for part in (x, x[:1]):
      found = metrics.paired_difference(part, part, key=jax.random.key(0), same_seeds=same)
      assert found.mean == 0
      if same or len(part) == 1:
        assert found.low == found.high == 0
      else:
        assert found.low < 0 < found.high, "runs are drawn for each"


def test_of_one_run_it_is_the_bootstrap_over_users():
  rng = np.random.default_rng(0)
  ours, theirs = rng.random((2, 1, 200))
  found = metrics.paired_difference(jnp.asarray(ours), theirs, key=jax.random.key(1))
  means = rng.choice((ours - theirs)[0], (4000, 200)).mean(axis=1)
  np.testing.assert_allclose(found[1:], np.quantile(means, [0.025, 0.975]), atol=6e-3)
  wide = metrics.paired_difference(jnp.asarray(ours), theirs, key=jax.random.key(1), part=0.5)
  assert found.low < wide.low < wide.mean < wide.high < found.high


def test_one_key_one_interval():
  ours, theirs = jnp.asarray(np.random.default_rng(0).random((2, 3, 40), np.float32))
  of = lambda k: metrics.paired_difference(ours, theirs, key=jax.random.key(k), num_resamples=50)
  assert of(0) == of(0) and of(0).low != of(1).low


def test_what_does_not_fit():
  x = jnp.zeros((2, 5))
  for ours, theirs, same in ((x, x[:, :4], False), (x, x[:1], True), (x[0], x[0], True)):
    with pytest.raises(ValueError, match=r"must be \[runs, users\] of the same users"):
      metrics.paired_difference(ours, theirs, key=jax.random.key(0), same_seeds=same)
  with pytest.raises(ValueError, match="num_resamples is 0"):
    metrics.paired_difference(x, x, key=jax.random.key(0), num_resamples=0)
  with pytest.raises(ValueError, match=r"must be \[runs, users\]"):
    metrics.paired_difference(x[:0], x[:0], key=jax.random.key(0))
