"""Items drawn by a graph: never a wrong one, each as likely as it should be, by one's own key."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vqlab import graph
from vqlab.graph import sampling

U, I = 6, 9


@pytest.fixture(scope="module")
def taken():
  """bool[U, I]; user 0 took nothing, user 1 all, user 2 all but one, item 8 is nobody's else."""
  table = np.random.default_rng(0).random((U, I)) < 0.4
  table[:, I - 1] = False
  table[0], table[1], table[2] = False, True, True
  table[2, 4] = False
  return table


def graph_of(table):
  return graph.from_interactions(*np.nonzero(table), *table.shape)


def keys_of(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def counts_of(draw, users, draws):
  """How often each user drew each item."""
  everyone = jnp.tile(jnp.arange(users, dtype=jnp.int32), draws)
  drawn = np.asarray(jax.jit(draw)(keys_of(len(everyone)), everyone)).reshape(len(everyone), -1)
  return np.stack([np.bincount(drawn[u::users].ravel() + 1, minlength=I + 1) for u in range(users)])


def check(counts, weights):
  """Counts of -1 and of items against what is expected of weights [U, I]."""
  for row, weight in zip(counts, weights, strict=True):
    if not weight.any():
      assert row[1:].sum() == 0
      continue
    assert row[0] == 0 and not row[1:][weight == 0].any()
    expected = row.sum() * weight / weight.sum()
    chosen = weight > 0
    if chosen.sum() > 1:
      assert stats.chisquare(row[1:][chosen], expected[chosen]).pvalue > 1e-3


def test_negatives_are_uniform_over_what_was_not_taken(taken):
  draw = functools.partial(graph.negatives, graph=graph_of(taken), num_users=U, count=4)
  check(counts_of(lambda keys, users: draw(keys, users=users), U, 500), ~taken)


@pytest.mark.parametrize("power", [0.75, 2])
def test_negatives_by_popularity(taken, power):
  g = graph_of(taken)
  by = graph.popularity(g, num_users=U, power=power)
  draw = functools.partial(graph.negatives, graph=g, num_users=U, count=4, by=by)
  weights = np.where(taken, 0, taken.sum(0) ** power)
  check(counts_of(lambda keys, users: draw(keys, users=users), U, 500), weights)


def test_weights_of_many_items_stay_exact():
  rng = np.random.default_rng(1)
  users, items = rng.integers(0, 40, 3000), (3000 * rng.random(3000) ** 3).astype(np.int64)
  g = graph.from_interactions(users, items, 40, 3001)
  by = graph.popularity(g, num_users=40, power=0.75)
  degree = np.diff(g.indptr)[40:]
  weights = np.diff(by.items.astype(np.int64))
  assert (weights[degree == 0] == 0).all() and by.items[-1] < 2**32
  np.testing.assert_allclose(weights / weights.sum(), degree**0.75 / (degree**0.75).sum(), 1e-5)
  # Sums over edges wrap around 2^32, their differences do not.
  each = np.diff(by.edges.astype(np.int64)) % 2**32
  of_items = g.indices >= 40
  np.testing.assert_array_equal(each[of_items], weights[g.indices[of_items] - 40])
  everyone = jnp.arange(40, dtype=jnp.int32)
  drawn = graph.negatives(keys_of(40), g, everyone, num_users=40, count=64, by=by)
  assert (drawn >= 0).all() and (degree[drawn] > 0).all()
  assert not graph.has_edge(g, everyone[:, None], drawn + 40).any()


def test_positives_are_uniform_over_what_was_taken(taken):
  g = graph_of(taken)
  draw = lambda keys, users: graph.positives(keys, g, users, num_users=U)
  check(counts_of(draw, U, 1000), taken)


@pytest.mark.parametrize("popular", [False, True])
def test_draws_depend_on_nothing_but_ones_key(taken, popular):
  g = graph_of(taken)
  by = graph.popularity(g, num_users=U) if popular else None
  keys, users = keys_of(12), jnp.tile(jnp.arange(U, dtype=jnp.int32), 2)
  draw = functools.partial(graph.negatives, num_users=U, count=3, by=by)
  whole = draw(keys, g, users)
  for row in range(12):
    np.testing.assert_array_equal(draw(keys[row : row + 1], g, users[row : row + 1])[0], whole[row])
  split = [x.reshape(4, 3) for x in (keys, users)]
  many = jax.pmap(lambda keys, users: draw(keys, g, users))(*split)
  np.testing.assert_array_equal(many.reshape(12, 3), whole)


def test_graphs_without_edges():
  g = graph.from_interactions(np.zeros(0, np.int32), np.zeros(0, np.int32), 2, 5)
  users = jnp.arange(2, dtype=jnp.int32)
  drawn = graph.negatives(keys_of(2), g, users, num_users=2, count=50)
  assert set(np.unique(drawn)) == set(range(5))
  assert (graph.positives(keys_of(2), g, users, num_users=2) == -1).all()


def test_bad_input_is_named(taken):
  g, users = graph_of(taken), jnp.zeros(1, jnp.int32)
  with pytest.raises(ValueError, match="count is 0; it must be at least 1"):
    graph.negatives(keys_of(1), g, users, num_users=U, count=0)
  with pytest.raises(ValueError, match="items of the graph is 0"):
    graph.negatives(keys_of(1), g, users, num_users=U + I)
  empty = graph.from_interactions(np.zeros(0, np.int32), np.zeros(0, np.int32), 2, 5)
  with pytest.raises(ValueError, match="none of 5 items was taken"):
    graph.popularity(empty, num_users=2)


def test_bits_are_scaled_as_whole_numbers_of_any_size():
  rng = np.random.default_rng(3)
  bits, limit = rng.integers(0, 2**32, (2, 1000), dtype=np.uint64)
  bits[:2], limit[:3] = (0, 2**32 - 1), (2**32 - 1, 2**32 - 1, 1)
  ours = sampling._scaled(jnp.asarray(bits.astype(np.uint32)), jnp.asarray(limit.astype(np.uint32)))
  theirs = [int(a) * int(b) >> 32 for a, b in zip(bits, limit, strict=True)]
  np.testing.assert_array_equal(ours, theirs)
