"""Products of normals: exact, in any order, whatever the groups, masks, magnitudes and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.autoencoders.evidence import accumulate, to_members

N, D, SIZES = 13, 3, (5, 1, 4, 3)
IDS = np.repeat(np.arange(4), SIZES).astype(np.int32)


@pytest.fixture(scope="module")
def members():
  rng = np.random.default_rng(0)
  mu, logvar = rng.normal(size=(2, N, D)).astype(np.float32) * [[[3]], [[2]]]
  return jnp.asarray(mu, jnp.float32), jnp.asarray(logvar, jnp.float32)


def updated(mu, logvar):
  """Bayes' rule member by member, in float64: the precision adds up, the mean moves."""
  mean, precision = np.zeros(mu.shape[1]), np.zeros(mu.shape[1])
  for m, v in zip(np.float64(mu), np.exp(np.float64(logvar)), strict=True):
    mean = (precision * mean + m / v) / (precision + 1 / v)
    precision += 1 / v
  return mean, -np.log(precision)


together = jax.jit(accumulate, static_argnums=3, static_argnames=("variance", "axis_name"))


def test_it_is_the_sequential_bayesian_update(members):
  found = together(*members, IDS, 4)
  for group in range(4):
    mean, logvar = updated(*(np.asarray(x)[group == IDS] for x in members))
    np.testing.assert_allclose(found.mu[group], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.logvar[group], logvar, rtol=1e-5, atol=1e-6)


def test_one_member_is_itself(members):
  found = accumulate(*members, np.arange(N, dtype=np.int32), N)
  np.testing.assert_allclose(found.mu, members[0], rtol=1e-6)
  np.testing.assert_allclose(found.logvar, members[1], rtol=1e-6)


@pytest.mark.parametrize("k", [2, 7, 64])
def test_equal_members_have_a_kth_of_the_variance(k):
  mu, logvar = jnp.full((k, 1), 2.5), jnp.full((k, 1), -3.0)
  found = accumulate(mu, logvar, np.zeros(k, np.int32), 1)
  np.testing.assert_allclose(found.mu, 2.5, rtol=1e-6)
  np.testing.assert_allclose(np.exp(found.logvar), np.exp(-3) / k, rtol=1e-5)


def test_order_does_not_matter(members):
  order = np.random.default_rng(1).permutation(N)
  found, shuffled = (
    together(*members, IDS, 4),
    together(*(x[order] for x in members), IDS[order], 4),
  )
  np.testing.assert_allclose(found.mu, shuffled.mu, rtol=2e-5, atol=1e-6)
  np.testing.assert_allclose(found.logvar, shuffled.logvar, rtol=1e-5, atol=1e-6)


def test_numbers_of_groups_are_only_names(members):
  names = np.array([3, 0, 2, 1], np.int32)
  found, renamed = together(*members, IDS, 4), together(*members, names[IDS], 4)
  np.testing.assert_array_equal(found.mu, renamed.mu[names])


@pytest.mark.parametrize("huge", [60.0, 300.0, np.inf])
def test_a_member_that_knows_nothing_is_ignored(members, huge):
  mu, logvar = members
  found = together(mu.at[2].set(50.0), logvar.at[2].set(huge), IDS, 4)
  without = together(mu, logvar, IDS, 4, mask=jnp.arange(N) != 2)
  np.testing.assert_allclose(found.mu, without.mu, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found.logvar, without.logvar, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("offset", [-400.0, 400.0])
def test_magnitudes_far_from_one(members, offset):
  """exp(400) is no float32; relative weights are all that counts."""
  mu, logvar = members
  found, near = together(mu, logvar + offset, IDS, 4), together(mu, logvar, IDS, 4)
  np.testing.assert_allclose(found.mu, near.mu, rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(found.logvar, near.logvar + offset, rtol=1e-6)


def scalar(mu, logvar, mask):
  found = accumulate(mu, logvar, IDS, 4, mask=mask)
  return jnp.sum(jnp.sin(found.mu)) + jnp.sum(jnp.square(found.logvar))


def test_masked_members_count_for_nothing_and_get_no_gradient(members):
  mask = jnp.arange(N) != 6
  poisoned = [x.at[6].set(jnp.nan) for x in members]
  value, grads = jax.jit(jax.value_and_grad(scalar, argnums=(0, 1)))(*poisoned, mask)
  clean = jax.jit(jax.value_and_grad(scalar, argnums=(0, 1)))(*members, mask)
  np.testing.assert_array_equal(value, clean[0])
  for grad, other in zip(grads, clean[1], strict=True):
    np.testing.assert_array_equal(grad, other)
    assert not np.any(grad[6]) and np.all(np.abs(grad[:6]) > 0)


def test_masked_members_may_have_any_id(members):
  """Padding often has one of none: refused neither here nor under jit."""
  mask = np.arange(N) != 6
  expected = accumulate(*members, IDS, 4, mask=mask)
  for bad in (-1, 4, 99):
    ids = np.where(mask, IDS, bad).astype(np.int32)
    for call in (accumulate, together):
      np.testing.assert_array_equal(call(*members, ids, 4, mask=mask).mu, expected.mu)


def test_lists_and_narrow_integers_are_input():
  many = 200
  mu, ids = np.arange(many, dtype=np.float32)[:, None], np.arange(many)
  found = together(mu, np.zeros_like(mu), ids.astype(np.uint8), many)
  np.testing.assert_array_equal(found.mu, mu)
  pair = accumulate([[1.0], [3.0]], [[0.0], [0.0]], [0, 0], 1, mask=[True, True])
  np.testing.assert_allclose(pair.mu, [[2.0]])


def test_gradients_are_those_of_the_formula(members, x64):
  from jax.test_util import check_grads

  mu, logvar = (jnp.asarray(x, jnp.float64) for x in members)
  mask = jnp.arange(N) != 6
  check_grads(jax.jit(lambda m, v: scalar(m, v, mask)), (mu, logvar), order=1, modes="rev")


def test_nan_that_counts_shows(members):
  found = together(members[0], members[1].at[0, 1].set(jnp.nan), IDS, 4)
  assert np.isnan(found.mu[0, 1]) and np.isnan(found.logvar[0, 1])
  assert np.isnan(found.mu).sum() == 1


def test_the_harmonic_variance_is_n_times_the_products(members):
  found, harmonic = together(*members, IDS, 4), together(*members, IDS, 4, variance="harmonic")
  np.testing.assert_array_equal(found.mu, harmonic.mu)
  np.testing.assert_allclose(
    np.exp(harmonic.logvar - found.logvar),
    np.broadcast_to(np.array(SIZES)[:, None], (4, D)),
    rtol=1e-5,
  )
  # Whoever is there counts, however little it knows.
  for huge in (80.0, 300.0, np.inf):
    logvar = jnp.array([[0.0], [huge]])
    two = accumulate(jnp.zeros((2, 1)), logvar, np.zeros(2, np.int32), 1, variance="harmonic")
    np.testing.assert_allclose(two.logvar, np.log([[2.0]]), rtol=1e-6)
  # Of two: 2 v1 v2 / (v1 + v2), as disentanglement_lib writes it.
  v1, v2 = 0.3, 1.7
  logvar = jnp.log(jnp.array([[v1], [v2]]))
  pair = accumulate(jnp.zeros((2, 1)), logvar, np.zeros(2, np.int32), 1, variance="harmonic")
  np.testing.assert_allclose(np.exp(pair.logvar), 2 * v1 * v2 / (v1 + v2), rtol=1e-5)


def test_under_jit_a_group_without_members_is_the_prior(members):
  found = together(*members, IDS, 6)
  assert not np.any(found.mu[4:]) and not np.any(found.logvar[4:])
  np.testing.assert_array_equal(found.mu[:4], together(*members, IDS, 4).mu)


def test_under_jit_ids_out_of_range_are_in_no_group(members):
  ids = np.where(np.arange(N) == 2, 9, np.where(np.arange(N) == 7, -1, IDS)).astype(np.int32)
  extreme = (members[0], members[1].at[2].set(-300.0))
  keep = (np.arange(N) != 2) & (np.arange(N) != 7)
  found, without = together(*extreme, ids, 4), together(*members, IDS, 4, mask=keep)
  np.testing.assert_array_equal(found.mu, without.mu)
  spread = jax.jit(to_members)(found, ids)
  assert np.array_equal(np.isnan(spread.mu).all(axis=1), ~keep)
  total = lambda logvar, ids: jnp.sum(accumulate(members[0], logvar, ids, 4).mu)
  grads = jax.jit(jax.grad(total))(extreme[1], ids)
  assert np.isfinite(grads).all() and not grads[2].any()


def test_groups_extend_over_devices(members, x64):
  devices = jax.devices()
  if len(devices) < 2:
    pytest.skip("one device")
  count = len(devices)
  mu, logvar = (jnp.tile(jnp.asarray(x[:8], jnp.float64), (count, 1)) for x in members)
  logvar += jnp.arange(len(mu), dtype=jnp.float64)[:, None] / 7
  ids = jnp.arange(len(mu), dtype=jnp.int32) % 5
  split = lambda x: x.reshape(count, -1, *x.shape[1:])

  def share(mu, logvar, ids):
    """A part of a sum over all members, of what their groups know."""
    found = accumulate(mu, logvar, ids, 5, axis_name="d")
    mine = to_members(found, ids)
    return jnp.sum(jnp.sin(mine.mu) + jnp.square(mine.logvar)), found

  grads = jax.grad(share, argnums=(0, 1), has_aux=True)
  by_device = jax.pmap(grads, axis_name="d")(split(mu), split(logvar), split(ids))

  def whole(mu, logvar):
    found = accumulate(mu, logvar, ids, 5)
    mine = to_members(found, ids)
    return jnp.sum(jnp.sin(mine.mu) + jnp.square(mine.logvar)), found

  expected, found = jax.grad(whole, argnums=(0, 1), has_aux=True)(mu, logvar)
  for device in range(count):
    np.testing.assert_allclose(by_device[1].mu[device], found.mu, rtol=1e-12)
  for ours, theirs in zip(by_device[0], expected, strict=True):
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-10, atol=1e-12)


def test_half_precision_is_computed_in_float32(members):
  half = [x.astype(jnp.bfloat16) for x in members]
  found = together(*half, IDS, 4)
  assert found.mu.dtype == found.logvar.dtype == jnp.float32
  same = together(*(x.astype(jnp.float32) for x in half), IDS, 4)
  np.testing.assert_array_equal(found.mu, same.mu)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"logvar": np.zeros((N, D + 1), np.float32)}, r"two \[N, D\]; found \[13, 3\], \[13, 4\]"),
    ({"group_ids": IDS[:-1]}, r"group_ids must be int\[13\].*found int32\[12\]"),
    ({"group_ids": IDS.astype(np.float32)}, r"group_ids must be int\[13\].*found float32\[13\]"),
    ({"group_ids": IDS + 1}, r"group_ids run from 1 to 4; they must be in \[0, 4\)"),
    ({"num_groups": 5}, "group 4 of 5 is empty; every group needs an observation"),
    ({"mask": jnp.asarray(IDS != 1)}, "group 1 of 4 is empty"),
    ({"mask": jnp.ones(N)}, r"mask must be bool\[13\].*found float32\[13\]"),
    ({"num_groups": 0}, "num_groups is 0; it must be at least 1"),
    ({"num_groups": 2.5}, "num_groups is 2.5; it must be a whole number"),
    ({"variance": "sum"}, "variance is 'sum'; it must be 'product' or 'harmonic'"),
  ],
)
def test_bad_input(members, change, message):
  mu, logvar = members
  args = {"mu": mu, "logvar": logvar, "group_ids": IDS, "num_groups": 4} | change
  with pytest.raises(ValueError, match=message):
    accumulate(**args)
