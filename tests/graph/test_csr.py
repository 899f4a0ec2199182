"""Graphs as sparse rows, against dense matrices, SciPy and plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csgraph, csr_array

from vqlab import graph


def drawn(seed, num_nodes=40, num_edges=90):
  rng = np.random.default_rng(seed)
  source, target = rng.integers(0, num_nodes, (2, num_edges))
  dense = np.zeros((num_nodes, num_nodes), bool)
  dense[source, target] = dense[target, source] = True
  return graph.from_edges(source, target, num_nodes), dense


def test_rows_are_sorted_symmetric_and_without_duplicates():
  g, dense = drawn(0)
  for node in range(g.num_nodes):
    row = g.indices[g.indptr[node] : g.indptr[node + 1]]
    np.testing.assert_array_equal(row, np.flatnonzero(dense[node]))
  np.testing.assert_array_equal(graph.degrees(g), dense.sum(1))
  np.testing.assert_array_equal(graph.sources(g), np.nonzero(dense)[0])
  one_way = graph.from_edges(np.array([2, 2, 0]), np.array([1, 1, 2]), 3, directed=True)
  np.testing.assert_array_equal(one_way.indptr, [0, 1, 1, 2])
  np.testing.assert_array_equal(one_way.indices, [2, 1])


def test_items_come_after_users():
  users, items = np.array([0, 1, 1, 1]), np.array([2, 0, 2, 2])
  g = graph.from_interactions(users, items, 2, 3)
  np.testing.assert_array_equal(graph.degrees(g), [1, 2, 1, 0, 2])
  np.testing.assert_array_equal(g.indices, [4, 2, 4, 1, 0, 1])


def test_edges_are_found_inside_jit():
  g, dense = drawn(1)
  nodes = jnp.arange(g.num_nodes, dtype=jnp.int32)
  found = jax.jit(graph.has_edge)(g, nodes[:, None], nodes[None])
  np.testing.assert_array_equal(found, dense)
  assert not graph.has_edge(g, jnp.int32(3), jnp.int32(-1))
  assert not graph.has_edge(g, jnp.int32(3), jnp.int32(g.num_nodes))
  empty = graph.from_edges(np.zeros(0, np.int32), np.zeros(0, np.int32), 3)
  assert not graph.has_edge(empty, jnp.int32(0), jnp.int32(1))


def test_distances_are_those_of_scipy():
  g, _ = drawn(2, num_edges=50)
  matrix = csr_array((np.ones(g.num_edges), g.indices, g.indptr), shape=(g.num_nodes,) * 2)
  theirs = csgraph.shortest_path(matrix, unweighted=True)
  nodes = jnp.arange(g.num_nodes, dtype=jnp.int32)
  ours = jax.vmap(lambda seed: graph.bfs_distances(g, seed, max_hops=3))(nodes)
  np.testing.assert_array_equal(ours, np.where(theirs <= 3, theirs, -1))


def peeled(dense, k):
  """The nodes of a k-core, one taken away at a time."""
  left = set(range(len(dense)))
  while weak := [v for v in left if sum(dense[v, u] for u in left) < k]:
    left.remove(weak[0])
  return left


def test_core_numbers_are_what_peeling_finds():
  g, dense = drawn(3, num_edges=120)
  numbers = graph.core_numbers(g)
  assert numbers.max() >= 3
  for k in range(1, numbers.max() + 2):
    assert set(np.flatnonzero(numbers >= k)) == peeled(dense, k)


def test_k_core_of_interactions():
  users = np.array([0, 0, 1, 1, 2, 2, 3])
  items = np.array([0, 1, 0, 1, 1, 2, 2])
  # Item 2 has two; without user 3, who has one, it has one; user 2 is left with one item then.
  kept = graph.k_core(users, items, user_core=2, item_core=2)
  np.testing.assert_array_equal(kept, [1, 1, 1, 1, 0, 0, 0])
  assert not graph.k_core(users, items, user_core=3, item_core=3).any()
  assert graph.k_core(users, items).all()


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (([0, 3], [1, 1], 3), r"nodes of source run from 0 to 3; they must be in \[0, 3\)"),
    (([0, -1], [1, 1], 3), "nodes of source run from -1 to 0"),
    (([0, 1], [1], 3), r"must be int\[K\]; found \[2\] and \[1\]"),
    (([0.5], [1], 3), "source holds float64; it must hold integers"),
    (([0], [0], 0), "num_nodes is 0; it must be at least 1"),
  ],
)
def test_what_is_no_graph(args, message):
  with pytest.raises(ValueError, match=message):
    graph.from_edges(np.array(args[0]), np.array(args[1]), args[2])


def test_interactions_out_of_range_are_named():
  with pytest.raises(ValueError, match=r"users run from 0 to 5; they must be in \[0, 5\)"):
    graph.from_interactions(np.array([0, 5]), np.array([0, 0]), 5, 3)
  with pytest.raises(ValueError, match="items holds float64; it must hold integers"):
    graph.from_interactions(np.array([0, 1]), np.array([0.7, 1]), 5, 3)
  assert graph.k_core(np.array([]), np.array([]), user_core=2).shape == (0,)
  with pytest.raises(ValueError, match=r"items run from 0 to 3; they must be in \[0, 3\)"):
    graph.from_interactions(np.array([0, 1]), np.array([0, 3]), 5, 3)
