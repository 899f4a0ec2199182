"""Ranking: `top_k` is lax.top_k's to the last tie; figures are those of plain loops over sets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import stats

from vqlab import metrics


def tied(rng, shape):
  """A few distinct values only, infinities and both zeros among them."""
  return jnp.asarray(rng.choice(np.float32([-np.inf, -1, -0.0, 0, 0.5, 1, np.inf]), shape))


@pytest.mark.parametrize("length", [1, 31, 64, 130, 1000, 1031])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_top_k_is_that_of_lax(length, k):
  rng = np.random.default_rng(length)
  k = min(k, length)
  ours = jax.jit(functools.partial(metrics.top_k, k=k))
  rows = tied(rng, (4, length))
  rare = jnp.where(jnp.asarray(rng.random((4, length)) < 0.99), -jnp.inf, rows)  # fewer than k left
  for x in (rows, rare, jnp.asarray(rng.integers(-3, 3, (2, 2, length), np.int32))):
    for mine, theirs in zip(ours(x), lax.top_k(x, k), strict=True):
      np.testing.assert_array_equal(mine, theirs)


def test_nan_is_ahead_as_in_lax():
  x = jnp.arange(300.0).at[jnp.array([7, 200])].set(jnp.nan)
  np.testing.assert_array_equal(metrics.top_k(x, 3)[1], lax.top_k(x, 3)[1])


def plainly(recommended, held_out, k):
  held = {x for x in held_out if x >= 0}
  hits = [p for p, x in enumerate(recommended[:k]) if x in held]
  ideal = sum(1 / np.log2(p + 2) for p in range(min(k, len(held))))
  return {
    f"recall@{k}": len(hits) / len(held) if held else 0,
    f"ndcg@{k}": sum(1 / np.log2(p + 2) for p in hits) / ideal if held else 0,
    f"hr@{k}": float(bool(hits)),
    f"mrr@{k}": 1 / (1 + hits[0]) if hits else 0,
  }


def drawn(users, seed=0):
  rng = np.random.default_rng(seed)
  recommended = np.stack([rng.permutation(12)[:8] for _ in range(users)]).astype(np.int32)
  held_out = np.stack([rng.permutation(12)[:5] for _ in range(users)]).astype(np.int32)
  held_out[np.arange(5) >= rng.integers(0, 6, users)[:, None]] = -1
  recommended[1, 5:] = -1  # no more than five to recommend
  held_out[0] = -1
  return jnp.asarray(recommended), jnp.asarray(held_out)


def test_figures_are_those_of_plain_loops():
  recommended, held_out = drawn(40)
  ours = jax.jit(functools.partial(metrics.ranking, ks=(1, 3, 8)))(recommended, held_out)
  for k in (1, 3, 8):
    theirs = [
      plainly(*rows, k) for rows in zip(recommended.tolist(), held_out.tolist(), strict=True)
    ]
    for name in theirs[0]:
      np.testing.assert_allclose(ours[name], [x[name] for x in theirs], rtol=1e-6, err_msg=name)
  assert len(ours) == 12


def test_users_are_averaged_the_same_on_any_number_of_devices():
  recommended, held_out = drawn(16)

  def sums(recommended, held_out):
    mask = jnp.any(held_out >= 0, axis=-1)
    figures = metrics.ranking(recommended, held_out, ks=(3, 8))
    return {name: metrics.total(x, mask=mask) for name, x in figures.items()}

  split = [x.reshape(jax.device_count(), -1, x.shape[1]) for x in (recommended, held_out)]
  many = jax.pmap(lambda *x: metrics.across(sums(*x), "data"), "data")(*split)
  one = sums(recommended, held_out)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-6), many, one)
  counted = int(jnp.sum(jnp.any(held_out >= 0, axis=-1)))
  assert int(one["recall@3"].count) == counted < 16


def test_one_held_out_among_negatives():
  negatives = jnp.array([[3.0, 1, 2, 0], [0, 0, 0, 0], [jnp.nan, 0, 0, 0], [1, 1, 1, 1]])
  rank = metrics.rank_among(jnp.array([2.0, 1, 1, 1]), negatives)
  np.testing.assert_array_equal(rank, [2, 0, 1, 4])  # equal scores and NaN count against it
  figures = metrics.ranking_of_one(rank, ks=(1, 3))
  np.testing.assert_array_equal(figures["hr@1"], [0, 1, 0, 0])
  np.testing.assert_allclose(figures["ndcg@3"], [0.5, 1, 1 / np.log2(3), 0], rtol=1e-6)
  np.testing.assert_allclose(figures["mrr@3"], [1 / 3, 1, 1 / 2, 0], rtol=1e-6)


def test_equal_scores_are_ordered_by_chance():
  keys = jax.random.split(jax.random.key(0), 4000)
  negatives = jnp.broadcast_to(jnp.array([2.0, 1, 1, jnp.nan, 0]), (4000, 5))
  ranks = metrics.rank_among(jnp.ones(4000), negatives, keys=keys)
  counts = np.bincount(ranks, minlength=6)
  assert counts[[0, 1, 5]].sum() == 0 and stats.chisquare(counts[2:5]).pvalue > 1e-3


def test_the_rank_gives_what_the_whole_order_gives():
  recommended, _ = drawn(12, seed=1)
  held_out = jnp.asarray(np.random.default_rng(2).integers(0, 12, (12, 1)), jnp.int32)
  whole = metrics.ranking(recommended, held_out, ks=(2, 8))
  hits = recommended == held_out
  rank = jnp.where(jnp.any(hits, axis=1), jnp.argmax(hits, axis=1), 99).astype(jnp.int32)
  for name, values in metrics.ranking_of_one(rank, ks=(2, 8)).items():
    np.testing.assert_allclose(values, whole[name], rtol=1e-6)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda x: metrics.top_k(x, 4), r"k is 4; it must be in \[1, 3\]"),
    (lambda x: metrics.ranking(x, x), r"recommended must be int\[users, items\]; found float32"),
    (lambda x: metrics.ranking(x.astype(int), x[0].astype(int)), r"held_out must be int.*\[3\]"),
    (lambda x: metrics.ranking(x.astype(int), x[:1].astype(int)), "2 users are recommended .* 1"),
    (lambda x: metrics.ranking(x.astype(int), x.astype(int), ks=(4,)), "k is 4, but 3 items"),
    (lambda x: metrics.ranking_of_one(x, ks=(0,)), "k is 0; it must be at least 1"),
    (lambda x: metrics.rank_among(x[0], x), r"positives \[3\] and of negatives \[2, 3\]"),
  ],
)
def test_bad_input_is_named(call, message):
  with pytest.raises(ValueError, match=message):
    call(jnp.zeros((2, 3)))
