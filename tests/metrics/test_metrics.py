"""Metrics: against NumPy, and the same however batches and devices split the examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import metrics

K = 7


@pytest.fixture(scope="module")
def data():
  keys = jax.random.split(jax.random.key(0), 4)
  x = jax.random.uniform(keys[0], (16, 4, 4, 3))
  y = x + 0.1 * jax.random.normal(keys[1], x.shape)
  codes = jax.random.randint(keys[2], (16, 2, 2), 0, K - 1)
  logits = jax.random.normal(keys[3], (16, 2, 2, K))
  return x, y, codes, logits


def all_sums(x, y, codes, logits, mask=None):
  return {
    "error": metrics.squared_error(x, y, mask=mask),
    "counts": metrics.code_counts(codes, num_codes=K, mask=mask),
    "nll": metrics.negative_log_likelihood(logits, codes, mask=mask),
    "right": metrics.accuracy(logits, codes, k=2, mask=mask),
  }


def test_values_against_numpy(data):
  x, y, codes, logits = (np.asarray(a, np.float64 if a.dtype != np.int32 else None) for a in data)
  sums = all_sums(*data)
  mse = np.mean(np.square(x - y))
  np.testing.assert_allclose(metrics.mean(sums["error"]), mse, rtol=1e-5)
  np.testing.assert_allclose(metrics.psnr(sums["error"]), -10 * np.log10(mse), rtol=1e-5)
  np.testing.assert_allclose(
    metrics.psnr(sums["error"], peak=255), 20 * np.log10(255) - 10 * np.log10(mse), rtol=1e-5
  )
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  nats = -np.take_along_axis(log_p, codes[..., None], -1).mean()
  np.testing.assert_allclose(metrics.mean(sums["nll"]), nats, rtol=1e-5)
  bits = metrics.bits_per_dim(metrics.mean(sums["nll"]), codes_per_example=4, dims_per_example=48)
  np.testing.assert_allclose(bits, 4 * nats / np.log(2) / 48, rtol=1e-5)
  counts = np.bincount(codes.ravel(), minlength=K)
  np.testing.assert_array_equal(sums["counts"], counts)
  p = counts[counts > 0] / counts.sum()
  np.testing.assert_allclose(
    metrics.perplexity(sums["counts"]), np.exp(-(p * np.log(p)).sum()), rtol=1e-5
  )
  np.testing.assert_allclose(
    metrics.unigram_entropy(sums["counts"]), -(p * np.log(p)).sum(), rtol=1e-5
  )
  np.testing.assert_allclose(metrics.usage(sums["counts"]), (counts > 0).mean(), rtol=1e-6)
  best = np.argsort(-logits, axis=-1)[..., :2]
  right = (best == codes[..., None]).any(-1)
  np.testing.assert_allclose(metrics.mean(sums["right"]), right.mean(), rtol=1e-6)


def test_accuracy_of_ties_nan_and_ignored_labels():
  logits = jnp.zeros((4, 3)).at[3].set(jnp.nan)
  labels = jnp.array([0, 1, 2, 0])
  assert metrics.accuracy(logits, labels).sum == 1
  assert metrics.accuracy(logits, labels, k=2).sum == 2
  assert metrics.accuracy(logits, labels, k=3) == (3, 4)
  assert metrics.accuracy(logits, jnp.array([0, -1, -1, -1])) == (1, 1)
  # No class is never right, not even among all of them; in eight bits -1 would be 255.
  for k in (1, 3):
    assert metrics.accuracy(logits[:3], jnp.array([3, 7, 3]), k=k) == (0, 3)
    assert metrics.accuracy(logits[:2], jnp.array([255, 3], jnp.uint8), k=k) == (0, 2)


def test_levels_add_up():
  bits = metrics.total_bits_per_dim([jnp.float32(3.41), jnp.float32(3.45)], [1024, 4096], 196608)
  # VQ-VAE-2 at 256 x 256: 1024 top and 4096 bottom codes.
  np.testing.assert_allclose(bits, (1024 * 3.41 + 4096 * 3.45) / np.log(2) / 196608, rtol=1e-6)
  for nats, codes in (([1.0], [1, 2]), ([], [])):
    with pytest.raises(ValueError, match="one figure and one number of codes a level"):
      metrics.total_bits_per_dim(nats, codes, 10)


def test_uniform_and_single_codes():
  assert metrics.perplexity(jnp.zeros(4)) == 1
  np.testing.assert_allclose(metrics.perplexity(jnp.array([0.0, 9, 0, 0])), 1)
  np.testing.assert_allclose(metrics.perplexity(jnp.full(512, 3.0)), 512, rtol=1e-5)
  zero = metrics.squared_error(jnp.ones((2, 3)), jnp.ones((2, 3)))
  assert metrics.psnr(zero) == jnp.inf


def test_split_padded_and_masked_batches_merge_to_the_whole(data):
  whole = all_sums(*data)
  parts = []
  for start, stop in ((0, 5), (5, 11), (11, 16)):
    batch = [
      jnp.pad(a[start:stop], [(0, 8 - stop + start)] + [(0, 0)] * (a.ndim - 1)) for a in data
    ]
    batch[0] = batch[0].at[stop - start :].set(jnp.nan)  # what pads must not matter
    batch[3] = batch[3].at[stop - start :].set(jnp.nan)
    parts.append(all_sums(*batch, mask=jnp.arange(8) < stop - start))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), metrics.merge(*parts), whole
  )


def test_gradients_are_zero_at_masked_nan():
  mask, x = jnp.array([True, False]), jnp.array([[1.0, 2.0], [jnp.nan, 3.0]])
  grad = jax.grad(lambda x: metrics.squared_error(x, jnp.zeros_like(x), mask=mask).sum)(x)
  np.testing.assert_allclose(grad, [[1, 2], [0, 0]])
  codes = jnp.zeros(2, jnp.int32)
  grad = jax.grad(lambda x: metrics.negative_log_likelihood(x, codes, mask=mask).sum)(x)
  assert jnp.all(jnp.isfinite(grad)) and jnp.all(grad[1] == 0)


def test_codes_of_minus_one_count_for_nothing():
  codes = jnp.array([0, -1, 2])
  assert list(metrics.code_counts(codes, num_codes=3)) == [1, 0, 1]
  narrow = metrics.code_counts(
    codes[::2].astype(jnp.uint8), num_codes=256, mask=jnp.array([False, True])
  )
  assert narrow[0] == 0 and narrow[2] == 1
  assert not metrics.code_counts(jnp.array([2**32 - 1], jnp.uint32), num_codes=3).any()
  nll = metrics.negative_log_likelihood(jnp.zeros((3, 4)), codes)
  np.testing.assert_allclose([nll.sum, nll.count], [2 * np.log(4), 2], rtol=1e-6)


def test_perplexity_takes_any_scale_and_leading_axes():
  counts = np.array([[0.05, 0.05, 0, 0], [3, 3, 3, 3]])
  np.testing.assert_allclose(metrics.perplexity(jnp.float32(counts)), [2, 4], rtol=1e-5)


def test_devices_merge_to_the_whole(data):
  devices = jax.device_count()
  split = [a.reshape(devices, -1, *a.shape[1:]) for a in data]
  summed = jax.pmap(lambda *a: metrics.across(all_sums(*a), "data"), "data")(*split)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a[-1], b, rtol=1e-5), summed, all_sums(*data)
  )


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda x, c: metrics.squared_error(x, x[:1]), r"shapes must agree"),
    (lambda x, c: metrics.total(x, mask=jnp.ones(3, bool)), r"mask must be bool over leading"),
    (
      lambda x, c: metrics.code_counts(c, num_codes=K, mask=jnp.ones(1, bool)),
      r"code_counts: mask must be bool over leading",
    ),
    (lambda x, c: metrics.code_counts(x, num_codes=K), r"indices are float32; they must be int"),
    (lambda x, c: metrics.negative_log_likelihood(x, c), r"codes must be int\[16, 4, 4\]"),
    (lambda x, c: metrics.accuracy(x, c), r"labels must be int\[16, 4, 4\]"),
    (lambda x, c: metrics.accuracy(x, x[..., 0].astype(int), k=4), r"k is 4; .* in \[1, 3\]"),
  ],
)
def test_bad_input_is_named(data, call, message):
  with pytest.raises(ValueError, match=message):
    call(data[0], data[2])
