"""Precision, recall, density, coverage: against loops over all pairs, whatever the chunks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import metrics

RUN = jax.jit(metrics.precision_recall, static_argnames=("k", "chunk_size"))


def by_loops(real, samples, k):
  """All from the definitions, one pair at a time."""
  real, samples = np.float64(real), np.float64(samples)
  distance = lambda a, b: np.sqrt(np.sum((a - b) ** 2))

  def radii(points):
    return [
      sorted(distance(p, q) for j, q in enumerate(points) if j != i)[k - 1]
      for i, p in enumerate(points)
    ]

  inside = lambda x, points, radii: [
    distance(x, p) <= r for p, r in zip(points, radii, strict=True)
  ]
  in_real = np.array([inside(s, real, radii(real)) for s in samples])
  in_samples = np.array([inside(r, samples, radii(samples)) for r in real])
  precision, recall = in_real.any(1).mean(), in_samples.any(1).mean()
  return [precision, recall, in_real.sum(1).mean() / k, in_real.any(0).mean()]


@pytest.fixture(scope="module")
def sets():
  rng = np.random.default_rng(0)
  real = rng.normal(size=(61, 6))
  samples = 0.8 * rng.normal(size=(47, 6)) + 0.7
  return np.float32(real), np.float32(samples)


@pytest.mark.parametrize("k", [1, 3])
def test_against_loops(sets, k):
  found = RUN(*sets, k=k, chunk_size=16)
  np.testing.assert_allclose(found, by_loops(*sets, k), rtol=1e-6)
  assert 0.2 < found.precision < 1 and 0.2 < found.recall < 1


def test_chunks_change_nothing(sets):
  whole = RUN(*sets)
  for size in (1, 13, 61):
    np.testing.assert_allclose(RUN(*sets, chunk_size=size), whole, rtol=1e-6)


def test_chunks_bound_memory():
  shape = jax.ShapeDtypeStruct((4096, 8), jnp.float32)
  run = partial(metrics.precision_recall, chunk_size=64)
  memory = jax.jit(run).lower(shape, shape).compile().memory_analysis()
  assert memory.temp_size_in_bytes < 4096 * 4096  # bytes: a quarter of what all pairs take


def test_masked_rows_are_in_neither_set(sets):
  padded = [np.concatenate([x, np.full((5, 6), np.nan, np.float32)]) for x in sets]
  masks = [jnp.arange(len(x) + 5) < len(x) for x in sets]
  found = RUN(*padded, real_mask=masks[0], samples_mask=masks[1])
  np.testing.assert_allclose(found, RUN(*sets), rtol=1e-6)
  few = RUN(*padded, real_mask=jnp.arange(66) < 3)
  assert np.isnan(few).all()
  assert np.isnan(RUN(padded[0], sets[1])).all()  # what is not masked is not overlooked


def test_equal_and_distant_sets(sets):
  same = RUN(sets[0], sets[0])
  np.testing.assert_allclose([same.precision, same.recall, same.coverage], 1, rtol=1e-6)
  np.testing.assert_allclose(RUN(sets[0], sets[1] + 100), 0)


def test_a_common_mean_changes_nothing(sets):
  moved = [np.float32(x + 512) for x in sets]
  found = RUN(*moved)
  np.testing.assert_allclose(found, by_loops(*moved, 3), rtol=1e-6)


def test_bad_input_is_named(sets):
  real, samples = sets
  with pytest.raises(ValueError, match="with one D"):
    metrics.precision_recall(real, samples[:, :2])
  with pytest.raises(ValueError, match="needs more than 3 of each"):
    metrics.precision_recall(real, samples[:3])
  with pytest.raises(ValueError, match="k is 0; it must be at least 1"):
    metrics.precision_recall(real, samples, k=0)
  with pytest.raises(ValueError, match=r"k is 2\.5; it must be a whole number"):
    metrics.precision_recall(real, samples, k=2.5)
  with pytest.raises(ValueError, match="chunk_size is 0; it must be at least 1"):
    metrics.precision_recall(real, samples, chunk_size=0)
  with pytest.raises(ValueError, match="real_mask: mask must be bool"):
    metrics.precision_recall(real, samples, real_mask=jnp.ones(2, bool))
