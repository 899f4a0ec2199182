"""Walks: on edges, back at the stated rate, of one law on device and host; what they induce."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vqlab import graph

RESTART = 0.3


def drawn(seed=0, num_nodes=60, num_edges=150):
  rng = np.random.default_rng(seed)
  source, target = rng.integers(0, num_nodes, (2, num_edges))
  apart = source != target
  g = graph.from_edges(source[apart], target[apart], num_nodes + 1)  # the last has no neighbour
  dense = np.zeros((num_nodes + 1,) * 2, bool)
  dense[source[apart], target[apart]] = dense[target[apart], source[apart]] = True
  return g, dense


def on_device(g, seeds, steps):
  return np.asarray(
    graph.random_walks(jax.random.key(1), g, jnp.asarray(seeds), steps=steps, restart=RESTART)
  )


def on_host(g, seeds, steps):
  return graph.walks_on_host(np.random.default_rng(1), g, seeds, steps=steps, restart=RESTART)


@pytest.mark.parametrize("walk", [on_device, on_host])
def test_walks_stay_on_edges_and_go_back_at_the_stated_rate(walk):
  g, dense = drawn()
  # A seed that is no neighbour of its neighbours' neighbours' ...: back is told from forth.
  seeds = np.full(200, int(np.argmax(dense.sum(1))), np.int32)
  trace = walk(g, seeds, 100)
  assert trace.shape == (200, 101) and (trace[:, 0] == seeds).all()
  before, after = trace[:, :-1], trace[:, 1:]
  assert (dense[before, after] | (after == seeds[:, None])).all()
  # Where the seed is no neighbour, to be there is to have gone back.
  apart = ~dense[before, seeds[:, None]]
  back = (after == seeds[:, None])[apart]
  assert stats.binomtest(int(back.sum()), back.size, RESTART).pvalue > 1e-3
  # From the seed: it stays there at the rate, and the neighbours are all alike.
  left = after[before == seeds[0]]
  beside = np.flatnonzero(dense[seeds[0]])
  found = [np.sum(left == v) for v in (seeds[0], *beside)]
  expected = np.array([RESTART] + [(1 - RESTART) / len(beside)] * len(beside)) * len(left)
  assert sum(found) == len(left) and stats.chisquare(found, expected).pvalue > 1e-3


def test_a_node_without_neighbours_is_not_left():
  g, dense = drawn()
  alone = np.full(3, len(dense) - 1, np.int32)
  assert (on_device(g, alone, 20) == alone[0]).all() and (on_host(g, alone, 20) == alone[0]).all()
  sub = graph.walk_subgraphs(jax.random.key(0), g, jnp.asarray(alone), steps=9, max_nodes=4)
  np.testing.assert_array_equal(sub.nodes, [[alone[0], -1, -1, -1]] * 3)


def test_a_graph_without_edges():
  g = graph.from_edges(np.zeros(0, int), np.zeros(0, int), 3)
  seeds = np.arange(3, dtype=np.int32)
  assert (on_device(g, seeds, 5) == seeds[:, None]).all()
  assert (on_host(g, seeds, 5) == seeds[:, None]).all()
  for sub in (
    graph.walk_subgraphs(jax.random.key(0), g, jnp.asarray(seeds), steps=5, max_nodes=2),
    graph.subgraphs_on_host(np.random.default_rng(0), g, seeds, steps=5, max_nodes=2),
  ):
    np.testing.assert_array_equal(sub.nodes, [[0, -1], [1, -1], [2, -1]])
    assert not np.asarray(sub.adjacency).any()


def test_a_walk_depends_on_its_own_key_alone():
  g, _ = drawn()
  keys, seeds = jax.random.split(jax.random.key(3), 6), jnp.arange(6, dtype=jnp.int32)
  together = graph.random_walks(keys, g, seeds, steps=30, restart=0.5)
  alone = graph.random_walks(keys[4:5], g, seeds[4:5], steps=30, restart=0.5)
  np.testing.assert_array_equal(together[4:5], alone)


def first_visits(walk):
  return list(dict.fromkeys(walk.tolist()))


@pytest.mark.parametrize("max_nodes", [8, 40])
def test_subgraphs_are_induced_by_what_a_walk_visits(max_nodes):
  g, dense = drawn()
  keys, seeds = jax.random.split(jax.random.key(0), 30), jnp.arange(30, dtype=jnp.int32)
  walks = graph.random_walks(keys, g, seeds, steps=50, restart=RESTART)
  of = jax.jit(
    lambda keys: graph.walk_subgraphs(
      keys, g, seeds, steps=50, restart=RESTART, max_nodes=max_nodes
    )
  )
  sub = of(keys)
  full = 0
  for walk, nodes, adjacency in zip(*map(np.asarray, (walks, *sub)), strict=True):
    visited = first_visits(walk)
    full += len(visited) > max_nodes
    visited = visited[:max_nodes]
    assert nodes[nodes >= 0].tolist() == visited and nodes[0] == walk[0]
    inside = np.zeros_like(adjacency)
    inside[: len(visited), : len(visited)] = dense[np.ix_(visited, visited)]
    np.testing.assert_array_equal(adjacency, inside)
  assert (full > 0) == (max_nodes == 8)


def test_nodes_too_far_from_the_seed_are_left_out():
  g, _ = drawn(num_edges=70)
  seeds = jnp.arange(20, dtype=jnp.int32)
  sub = graph.walk_subgraphs(jax.random.key(0), g, seeds, steps=200, restart=0.1, max_nodes=40)
  near = graph.within(sub, 2)
  for nodes, adjacency, kept, inside in zip(*map(np.asarray, (*sub, *near)), strict=True):
    hops = graph.bfs_distances(
      graph.from_edges(*np.nonzero(adjacency), len(nodes)), jnp.int32(0), max_hops=2
    )
    expected = np.where((np.asarray(hops) >= 0) & (nodes >= 0), nodes, -1)
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(inside, adjacency & np.outer(kept >= 0, kept >= 0))
  assert (np.asarray(near.nodes) != np.asarray(sub.nodes)).any()


def test_subgraphs_of_the_host_have_the_same_law():
  g, dense = drawn()
  seeds = np.repeat(np.arange(20, dtype=np.int32), 100)
  options = {"steps": 20, "restart": RESTART, "max_nodes": 12, "max_hops": 2}
  device = graph.walk_subgraphs(jax.random.key(2), g, jnp.asarray(seeds), **options)
  host = graph.subgraphs_on_host(np.random.default_rng(2), g, seeds, **options)
  for nodes, adjacency in zip(*host, strict=True):
    kept = np.flatnonzero(nodes >= 0)
    np.testing.assert_array_equal(
      adjacency[np.ix_(kept, kept)], dense[np.ix_(nodes[kept], nodes[kept])]
    )
  assert (host.nodes[:, 0] == seeds).all()
  # How many nodes there are, and how often each is visited: as two samples of one law.
  counts = [np.bincount((np.asarray(x.nodes) >= 0).sum(1), minlength=13) for x in (device, host)]
  counts = np.array(counts)[:, np.sum(counts, 0) > 10]
  assert stats.chi2_contingency(counts).pvalue > 1e-3
  visits = [np.bincount(np.asarray(x.nodes).ravel() + 1, minlength=62)[1:] for x in (device, host)]
  visits = np.array(visits)[:, np.sum(visits, 0) > 10]
  assert stats.chi2_contingency(visits).pvalue > 1e-3


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"restart": 1.0}, r"restart is 1.0; it must be in \[0, 1\)"),
    ({"steps": 0}, "steps is 0; it must be at least 1"),
    ({"seeds": jnp.array([0, 99])}, r"seeds run from 0 to 99; they must be in \[0, 61\)"),
    ({"seeds": jnp.zeros((2, 2), jnp.int32)}, r"seeds must be i32\[B\]"),
  ],
)
def test_what_is_no_walk(options, message):
  given = {"seeds": jnp.zeros(2, jnp.int32), "steps": 3, "restart": 0.5} | options
  with pytest.raises(ValueError, match=message):
    graph.random_walks(jax.random.key(0), drawn()[0], **given)
