"""Sampling: the same codes by every route, and from the right distribution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vqlab.priors import drawing, log_prob, sample, sampling

KEY = jax.random.key(42)


class Independent(nn.Module):
  """The least prior over sequences [B, T]: logits [T, K] that depend on no code."""

  def setup(self):
    self.table = self.param("table", nn.initializers.zeros, (2, 4), jnp.float32)

  def logits(self, codes, cond=None, *, train=False):
    return jnp.broadcast_to(self.table, (*codes.shape, 4))

  def init_cache(self, shape, cond=None):
    return jnp.zeros(shape[0])

  def begin_row(self, cache, codes, row):
    return cache

  def step(self, cache, codes, row, index):
    return cache, jnp.broadcast_to(self.table[index], (codes.shape[0], 4))


def draw(probs, count=20_000, **options):
  """How often each of 4 codes is drawn, [4], from a prior with these probabilities."""
  table = jnp.log(jnp.asarray([[0.25] * 4, probs], jnp.float32))
  codes = sample(KEY, Independent(), {"table": table}, (count, 2), **options)
  return np.bincount(codes[:, 1], minlength=4) / count


@pytest.mark.parametrize("shape", [(16, 8, 8), (8, 3, 4, 3)])
def test_cached_and_naive_codes_are_the_same(shape, prior, x64):
  model, params, _, cond = prior(shape, num_classes=3, num_layers=2)
  cached, naive = (
    sample(KEY, model, params, shape, cond=cond, method=method) for method in ("cached", "naive")
  )
  assert cached.dtype == jnp.int32 and cached.shape == shape
  assert len(np.unique(cached)) == model.num_codes
  np.testing.assert_array_equal(cached, naive)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cached_and_naive_codes_differ_only_in_near_ties(dtype, prior, stepped, forced):
  """Up to a sample's first difference both saw the same codes: only rounding can part them.

  In bfloat16 the cached run rounds much more than the naive one, so that some samples do part.
  """
  shape = (64, 8, 8)
  model, params, _, _ = prior(shape, dtype=jnp.float32, num_layers=2)
  rough = model.clone(dtype=dtype)
  cached = sample(KEY, rough, params, shape)
  naive = sample(KEY, model, params, shape, method="naive")
  logits = forced(model, params, naive, None)
  error = float(jnp.abs(stepped(rough, params, naive, None) - logits).max())
  assert 0 < error < (1e-5 if dtype == jnp.float32 else 0.1)
  cached, naive, logits = (np.reshape(x, (64, 64, *x.shape[3:])) for x in (cached, naive, logits))
  keys = jax.vmap(partial(jax.random.fold_in, KEY))(jnp.arange(64))
  parted = np.flatnonzero((cached != naive).any(1))
  for i in parted:
    position = int(np.argmax(cached[i] != naive[i]))
    noise = drawing._noise(keys, jnp.int32(position), model.num_codes, jnp.float32)[i]
    scores = logits[i, position] + noise
    best, second = np.sort(scores)[:-3:-1]
    assert best - second < 2 * error
    # They take these two codes in turn (the check above is not of some other position's scores).
    assert {int(cached[i, position]), int(naive[i, position])} == set(np.argsort(scores)[-2:])
  assert len(parted) <= 1 if dtype == jnp.float32 else 0 < len(parted) < 64


@pytest.mark.parametrize("method", ["cached", "naive"])
def test_codes_do_not_depend_on_the_batch(method, prior, x64):
  model, params, _, cond = prior((8, 3, 4), num_classes=3)
  draw = partial(sample, KEY, model, params, method=method)
  eight = draw((8, 3, 4), cond=cond)
  np.testing.assert_array_equal(draw((4, 3, 4), cond=cond[:4]), eight[:4])
  np.testing.assert_array_equal(draw((4, 3, 4), cond=cond[4:], first_index=4), eight[4:])
  assert not np.array_equal(sample(jax.random.key(1), model, params, (8, 3, 4), cond=cond), eight)


@pytest.mark.parametrize("shape", [(4, 3, 4), (4, 3, 2, 2)])
def test_in_painting(shape, prior, x64):
  model, params, other, _ = prior(shape, num_layers=2)
  paint = partial(sample, KEY, model, params, shape)
  free = paint()
  mask = jax.random.bernoulli(jax.random.key(1), 0.5, shape).at[:, 0].set(False)
  mask = mask.at[:, 1, 0].set(True)
  # Codes that would have been drawn anyway change nothing.
  np.testing.assert_array_equal(paint(given=(free, mask)), free)
  # Others are copied; what precedes them is as before, and the rest follows from them.
  painted = paint(given=(other, np.asarray(mask)))
  np.testing.assert_array_equal(painted[mask], other[mask])
  np.testing.assert_array_equal(painted[:, 0], free[:, 0])
  assert not np.array_equal(painted[~mask], free[~mask])
  np.testing.assert_array_equal(paint(given=(other, mask), method="naive"), painted)
  np.testing.assert_array_equal(paint(given=(other, jnp.ones(shape, bool))), other)


def test_temperature_zero_takes_the_best_code(prior, forced, x64):
  shape = (4, 3, 4)
  model, params, _, _ = prior(shape)
  codes = sample(KEY, model, params, shape, temperature=0)
  np.testing.assert_array_equal(codes, forced(model, params, codes, None).argmax(-1))
  np.testing.assert_array_equal(codes[0], codes[1])


def test_frequencies_under_temperature_top_k_and_top_p():
  probs = np.asarray([0.1, 0.4, 0.2, 0.3])

  def renormalised(weights):
    return weights / weights.sum()

  tolerance = {"atol": 4 * 0.5 / np.sqrt(20_000)}  # four standard deviations
  np.testing.assert_allclose(draw(probs), probs, **tolerance)
  np.testing.assert_allclose(draw(probs, method="naive"), draw(probs), atol=0)
  np.testing.assert_allclose(draw(probs, temperature=2), renormalised(probs**0.5), **tolerance)
  np.testing.assert_allclose(draw(probs, temperature=0.5), renormalised(probs**2), **tolerance)
  keeps = {1: [1], 2: [1, 3], 3: [1, 2, 3], 4: [0, 1, 2, 3]}
  for top_k, kept in keeps.items():
    expected = renormalised(np.where(np.isin(range(4), kept), probs, 0))
    found = draw(probs, top_k=top_k)
    np.testing.assert_allclose(found, expected, **tolerance)
    np.testing.assert_array_equal(found > 0, expected > 0)


@pytest.mark.parametrize(
  ("options", "kept"),
  [
    ({"top_p": 1e-30}, [1]),
    ({"top_p": 0.39}, [1]),
    ({"top_p": 0.41}, [1, 3]),
    ({"top_p": 0.71}, [1, 2, 3]),
    ({"top_p": 1.0}, [0, 1, 2, 3]),
    ({"top_p": 0.55, "top_k": 2}, [1]),  # of what the top two leave: 0.57 and 0.43
    ({"top_p": 0.6, "top_k": 2}, [1, 3]),
    ({"top_p": 0.41, "temperature": 0.25}, [1]),  # 0.4 becomes 0.72
  ],
)
def test_top_p_keeps_the_smallest_set_with_the_mass(options, kept):
  found = draw([0.1, 0.4, 0.2, 0.3], **options)
  np.testing.assert_array_equal(np.flatnonzero(found), kept)


def test_equal_codes_are_filtered_from_the_highest_down():
  uniform = [0.25] * 4
  np.testing.assert_array_equal(np.flatnonzero(draw(uniform, top_k=3)), [0, 1, 2])
  np.testing.assert_array_equal(np.flatnonzero(draw(uniform, top_p=0.5)), [0, 1])
  np.testing.assert_array_equal(np.flatnonzero(draw(uniform, top_p=0.51)), [0, 1, 2])
  np.testing.assert_array_equal(np.flatnonzero(draw(uniform, temperature=0)), [0])


@pytest.mark.parametrize("shape", [(81, 2, 2), (81, 1, 2, 2)])
def test_likelihoods_sum_to_one_and_are_the_frequencies(shape, prior, x64):
  model, params, _, _ = prior(shape, num_codes=3, num_layers=2)
  every = np.stack(np.meshgrid(*[range(3)] * 4, indexing="ij"), -1).reshape(shape)
  nats = log_prob(model, params, jnp.asarray(every, jnp.int32))
  assert nats.shape == (81,) and nats.dtype == jnp.float64
  np.testing.assert_allclose(np.exp(nats).sum(), 1, atol=1e-12)
  count = 10_000
  codes = np.asarray(sample(KEY, model, params, (count, *shape[1:]))).reshape(count, 4)
  found = np.bincount(codes @ np.asarray([27, 9, 3, 1]), minlength=81)
  expected = count * np.exp(nats)
  # Cells of fewer than five expected draws are one cell, as the chi-square approximation asks.
  rare = expected < 5
  found = np.append(found[~rare], found[rare].sum())
  expected = np.append(expected[~rare], expected[rare].sum() + 1e-9)
  freedom = len(found) - 1
  assert freedom > 40
  chi_square = ((found - expected) ** 2 / expected).sum()
  assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_log_prob_takes_labels(prior, forced, x64):
  model, params, codes, cond = prior((2, 3, 4), num_classes=3)
  log_probs = jax.nn.log_softmax(forced(model, params, codes, cond))
  expected = (log_probs * jax.nn.one_hot(codes, 5, dtype=jnp.float64)).sum((1, 2, 3))
  np.testing.assert_allclose(log_prob(model, params, codes, cond=cond), expected, atol=1e-12)
  assert not np.allclose(log_prob(model, params, codes, cond=(cond + 1) % 3), expected)


@pytest.mark.parametrize(("shape", "method"), [((4, 3, 4), "naive"), ((4, 3, 2, 2), "cached")])
def test_log_probs_come_with_the_codes(shape, method, prior, x64):
  model, params, codes, _ = prior(shape, seed=3)
  given = (codes, jax.random.bernoulli(KEY, 0.3, shape))
  options = {"given": given, "temperature": 0.7, "top_k": 3, "method": method}
  drawn, log_probs = sample(KEY, model, params, shape, with_log_probs=True, **options)
  np.testing.assert_array_equal(drawn, sample(KEY, model, params, shape, **options))
  each = log_prob(model, params, drawn, per_position=True)
  assert each.shape == shape and each.dtype == log_probs.dtype == jnp.float64
  np.testing.assert_allclose(log_probs, each, rtol=1e-9)
  total = log_prob(model, params, drawn.astype(jnp.uint8))
  np.testing.assert_allclose(total, each.reshape(4, -1).sum(1), rtol=1e-12)


def test_of_what_is_no_code_the_log_prob_is_nan_under_jit(prior):
  model, params, codes, _ = prior((3, 2, 2), dtype=jnp.float32, num_layers=1)
  bad = codes.at[1, 1, 1].set(-1).at[2, 0, 0].set(model.num_codes)
  found = jax.jit(lambda codes: log_prob(model, params, codes))(bad)
  assert np.isnan(found).tolist() == [False, True, True]


def test_under_jit_and_vmap():
  table = jax.random.normal(KEY, (2, 4))
  model, params, shape = Independent(), {"table": table}, (8, 2)
  keys = jax.random.split(KEY, 3)
  temperatures = jnp.asarray([0.5, 1.0, 2.0])

  def draw(key, temperature):
    return sample(key, model, params, shape, temperature=temperature, top_p=0.9)

  together = jax.jit(jax.vmap(draw))(keys, temperatures)
  one_by_one = [draw(key, float(t)) for key, t in zip(keys, temperatures, strict=True)]
  np.testing.assert_array_equal(together, np.stack(one_by_one))


def test_vmap_over_keys_of_several_codes_a_position(prior, x64):
  """Where the cache's own condition becomes a select."""
  shape = (2, 2, 2, 2)
  model, params, _, _ = prior(shape, num_layers=1)
  keys = jax.random.split(KEY, 3)
  together = jax.vmap(lambda key: sample(key, model, params, shape))(keys)
  one_by_one = [sample(key, model, params, shape) for key in keys]
  np.testing.assert_array_equal(together, np.stack(one_by_one))


def test_a_second_call_does_not_compile():
  params = {"table": jnp.zeros((2, 4))}
  before = sampling._sample._cache_size()
  for temperature, top_p in [(1, 0.5), (0.7, 0.25), (jnp.float32(2), 0.125)]:
    # An equal model, made anew.
    sample(KEY, Independent(), params, (3, 2), temperature=temperature, top_p=top_p)
  assert sampling._sample._cache_size() == before + 1


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"shape": (3,)}, r"shape is \(3,\)"),
    ({"shape": (0, 2)}, r"shape is \(0, 2\)"),
    ({"method": "fast"}, "method is 'fast'; it must be 'cached' or 'naive'"),
    ({"temperature": -1.0}, "temperature is -1.0; it must be finite and >= 0"),
    ({"temperature": float("nan")}, "temperature is nan"),
    ({"temperature": jnp.ones(3)}, r"temperature has shape \[3\]"),
    ({"top_k": 0}, "top_k is 0"),
    ({"top_k": 2.0}, "top_k is 2.0"),
    ({"top_k": 5}, "top_k is 5; the prior has 4 codes"),
    ({"top_p": 0.0}, r"top_p is 0.0; it must be in \(0, 1\]"),
    ({"top_p": 1.5}, "top_p is 1.5"),
    ({"given": jnp.zeros((3, 2), int)}, r"it must be a pair \(codes, mask\)"),
    ({"given": (jnp.zeros((3, 1), int), jnp.ones((3, 2), bool))}, r"codes have shape \[3, 1\]"),
    ({"given": (jnp.zeros((3, 2), int), jnp.ones((2,), bool))}, r"mask have shape \[2\]"),
    ({"given": (jnp.zeros((3, 2)), jnp.ones((3, 2), bool))}, "given codes are float32"),
    ({"given": (jnp.zeros((3, 2), int), jnp.ones((3, 2), int))}, "mask is int32"),
    ({"first_index": 0.7}, "first_index is 0.7; it must be one whole number"),
    ({"first_index": jnp.zeros(2, int)}, r"first_index is \[0 0\]; it must be one"),
    ({"first_index": -3}, "first_index is -3; it must be at least 0"),
    ({"first_index": np.int64(-3)}, "first_index is -3; it must be at least 0"),
  ],
)
def test_bad_input_is_one_clear_line(options, message):
  params = {"table": jnp.zeros((2, 4))}
  options = {"shape": (3, 2), **options}
  with pytest.raises(ValueError, match=message) as error:
    sample(KEY, Independent(), params, **options)
  assert "\n" not in str(error.value)


def test_the_models_own_refusals_come_through(prior):
  model, params, codes, _ = prior((2, 3, 3), dtype=jnp.float32)
  for method in ("cached", "naive"):
    with pytest.raises(ValueError, match=r"codes have shape \[2, 3\]"):
      sample(KEY, model, params, (2, 3), method=method)
  with pytest.raises(ValueError, match="unconditional"):
    log_prob(model, params, codes, cond=jnp.zeros(2, jnp.int32))
  with pytest.raises(ValueError, match="the model is a dict; it must be a Linen module"):
    sample(KEY, params, model, (2, 3, 3))
  with pytest.raises(ValueError, match="the model is a dict; it must be a Linen module"):
    log_prob(params, model, codes)


@pytest.mark.parametrize("method", ["cached", "naive"])
def test_samples_under_shard_map_are_those_of_one_device(method, prior):
  devices = jax.device_count()
  shape = (devices, 2, 3)
  model, params, _, cond = prior(shape, dtype=jnp.float32, num_classes=3, num_layers=1)
  mesh = jax.make_mesh((devices,), ("data",), (jax.sharding.AxisType.Auto,))

  def one(params, cond):
    return sample(
      jax.random.key(0), model, params, (1, 2, 3), cond=cond, method=method,
      first_index=jax.lax.axis_index("data"),
    )  # fmt: skip

  mapped = jax.shard_map(one, mesh=mesh, in_specs=(jax.P(), jax.P("data")), out_specs=jax.P("data"))
  expected = sample(jax.random.key(0), model, params, shape, cond=cond, method=method)
  np.testing.assert_array_equal(jax.jit(mapped)(params, cond), expected)


def test_a_tiny_temperature_takes_the_most_probable_code(prior):
  model, params, _, _ = prior((4, 2, 2), dtype=jnp.float32, num_layers=1)
  greedy = sample(jax.random.key(0), model, params, (4, 2, 2), temperature=0.0)
  cold = sample(jax.random.key(0), model, params, (4, 2, 2), temperature=1e-37)
  np.testing.assert_array_equal(cold, greedy)


def test_values_out_of_range_are_named(prior):
  model, params, codes, _ = prior((2, 2, 2), dtype=jnp.float32, num_classes=3, num_layers=1)
  key, mask = jax.random.key(0), jnp.ones((2, 2, 2), bool)
  with pytest.raises(ValueError, match=r"cond run from 3 to 3; they must be in \[0, 3\)"):
    sample(key, model, params, codes.shape, cond=jnp.full(2, 3))
  with pytest.raises(ValueError, match=r"cond run from 1 to 99; .*\[0, 3\)"):
    sample(key, model, params, codes.shape, cond=[99, 1])
  with pytest.raises(ValueError, match=r"cond run from 1 to 99; .*\[0, 3\)"):
    log_prob(model, params, codes, cond=(jnp.int32(99), 1))
  with pytest.raises(ValueError, match=r"given codes run from 9 to 9; .*\[0, 5\)"):
    sample(
      key, model, params, codes.shape, cond=jnp.zeros(2, jnp.int32), given=(codes * 0 + 9, mask)
    )
  with pytest.raises(ValueError, match=r"codes run from -1 to -1"):
    log_prob(model, params, codes * 0 - 1, cond=jnp.zeros(2, jnp.int32))
  with pytest.raises(ValueError, match=r"codes run from -1 to -1"):
    log_prob(model, params, [[[-1, -1], [-1, -1]]] * 2, cond=jnp.zeros(2, jnp.int32))
  # Codes that are not copied may be anything.
  given = (jnp.where(mask.at[0, 1].set(False), 1, -1), mask.at[0, 1].set(False))
  labels = jnp.zeros(2, jnp.int32)
  painted = sample(key, model, params, codes.shape, cond=labels, given=given)
  expected = sample(key, model, params, codes.shape, cond=labels, given=(abs(given[0]), given[1]))
  np.testing.assert_array_equal(painted, expected)
