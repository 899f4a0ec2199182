"""Recommending: what a plain evaluation in NumPy recommends, ties and all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from vqlab import graph, metrics

U, I, K = 30, 150, 7


@pytest.fixture(scope="module")
def taken():
  """bool[U, I], of power-law users: none, three blocks of neighbours, and all but three."""
  rng = np.random.default_rng(0)
  table = rng.random((U, I)) < 0.7 * rng.random((U, 1)) ** 4
  table[0], table[1] = False, True
  table[1, [3, 8, 140]] = False
  return table


def graph_of(table):
  return graph.from_interactions(*np.nonzero(table), *table.shape)


def plainly(scores, taken, also=None):
  scores = np.where(taken, -np.inf, scores)
  for row, items in zip(scores, also if also is not None else [], strict=False):
    row[items[items >= 0]] = -np.inf
  order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
  best = np.take_along_axis(scores, order, axis=1)
  return np.where(best > -np.inf, order, -1), best


@pytest.mark.parametrize("tied", [False, True])
def test_what_numpy_recommends(taken, tied):
  rng = np.random.default_rng(1)
  scores = rng.normal(size=(U, I)).astype(np.float32)
  scores = np.round(scores) if tied else scores
  also = np.where(rng.random((U, 4)) < 0.7, rng.integers(0, I, (U, 4)), -1).astype(np.int32)
  users, g = jnp.arange(U, dtype=jnp.int32), graph_of(taken)
  rank = jax.jit(functools.partial(graph.rank, num_users=U, k=K))
  for more in (None, also):
    ours = rank(users, jnp.asarray(scores), g, also=more)
    for mine, theirs in zip(ours, plainly(scores, taken, more), strict=True):
      np.testing.assert_array_equal(mine, theirs)
  some = jnp.array([5, 1, 5], jnp.int32)  # any users, in any order
  np.testing.assert_array_equal(
    rank(some, jnp.asarray(scores)[some], g)[0], plainly(scores, taken)[0][some]
  )


def test_vectors_by_chunks(taken):
  rng = np.random.default_rng(2)
  whole = lambda *shape: jnp.asarray(rng.integers(-3, 4, shape).astype(np.float32))
  of_users, of_items = whole(U, 4), whole(I, 4)  # products are whole numbers: exact, many equal
  users = jnp.asarray(rng.permutation(U), jnp.int32)
  also = jnp.asarray(rng.integers(-1, I, (U, 2)), jnp.int32)
  expected = plainly((of_users @ of_items.T)[users], taken[users], also)
  for chunk in (7, 10, 30, 64):
    rank = functools.partial(graph.rank_by_vectors, num_users=U, k=K, chunk=chunk)
    ours = jax.jit(rank)(users, of_users, of_items, graph_of(taken), also=also)
    for mine, theirs in zip(ours, expected, strict=True):
      np.testing.assert_array_equal(mine, theirs)


def test_users_over_devices_are_recommended_the_same(taken):
  users = jnp.arange(24, dtype=jnp.int32)
  scores = jnp.round(jax.random.normal(jax.random.key(0), (24, I)))
  rank = jax.jit(functools.partial(graph.rank, num_users=U, k=K))
  mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
  split = jax.device_put((users, scores), NamedSharding(mesh, P("data")))
  everywhere = jax.device_put(graph_of(taken), NamedSharding(mesh, P()))
  for many, one in zip(rank(*split, everywhere), rank(users, scores, graph_of(taken)), strict=True):
    np.testing.assert_array_equal(many, one)


def test_what_was_taken_is_no_hit(taken):
  """Scores that know what was held out find all of it, unless it was taken as well."""
  users, g = jnp.arange(U, dtype=jnp.int32), graph_of(taken)
  held_out = jnp.asarray(np.argmin(taken, axis=1)[:, None], jnp.int32)
  items = jnp.arange(I, dtype=jnp.int32)
  scores = (items == held_out).astype(jnp.float32) + 2.0 * jnp.asarray(taken, jnp.float32)
  ranked, _ = graph.rank(users, scores, g, num_users=U, k=K)
  assert (metrics.ranking(ranked, held_out, ks=(1,))["recall@1"] == 1).all()
  ranked, _ = graph.rank(users, scores, g, num_users=U, k=K, also=held_out)
  assert (metrics.ranking(ranked, held_out, ks=(K,))[f"hr@{K}"] == 0).all()


def test_nobody_took_anything():
  g = graph.from_interactions(np.zeros(0, np.int32), np.zeros(0, np.int32), 2, 5)
  scores = jnp.array([[1.0, 3, 2, 3, 0]])
  items, best = graph.rank(jnp.array([1]), scores, g, num_users=2, k=3)
  assert items.tolist() == [[1, 3, 2]] and best.tolist() == [[3, 3, 2]]


def test_bad_input_is_named(taken):
  with pytest.raises(ValueError, match=r"scores \[2, 9\] must be \[users, items\], \[2, 150\]"):
    graph.rank(jnp.zeros(2, jnp.int32), jnp.zeros((2, 9)), graph_of(taken), num_users=U, k=1)
  with pytest.raises(ValueError, match=r"k is 151; it must be in \[1, 150\]"):
    graph.rank(jnp.zeros(1, jnp.int32), jnp.zeros((1, I)), graph_of(taken), num_users=U, k=151)
