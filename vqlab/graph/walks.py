"""Random walks with restart, and the subgraphs of what they visit, as dense batches of one shape.

A walk begins at its seed; at each step it goes back there with probability `restart`, and otherwise
to one of its node's neighbours, all alike. (GCC's walker, DGL's `random_walk_with_restart`, counted
visited nodes and was of no fixed length.) The subgraph of a walk is induced by what it visited
(Qiu et al. 2020, arXiv 2006.09963), its seed first.

A step is a function of one random word, and is written once for JAX and NumPy: the same words, the
same walks. On the host, `walks_on_host` and `subgraphs_on_host` are for pipelines.

Letters: B walks, L steps, n nodes of a subgraph at most.
"""

from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.graph.csr import Graph, has_edge
from vqlab.nn import checks


class Subgraphs(NamedTuple):
  """Induced subgraphs, padded to n nodes; the seed is node 0 of each."""

  nodes: jax.Array  # i32[B, n]  of the graph, in the order of the first visit; -1: none
  adjacency: jax.Array  # bool[B, n, n]  symmetric, False on the diagonal

  @property
  def mask(self) -> jax.Array:
    """bool[B, n]: where there is a node."""
    return self.nodes >= 0


def random_walks(
  keys: jax.Array, graph: Graph, seeds: jax.Array, *, steps: int, restart: float
) -> jax.Array:
  """i32[B, L + 1]: the nodes of a walk from each seed, which is the first of them.

  Where a node has no neighbours the walk stays.

  Args:
    keys: one, or one for each walk, [B]: what a walk draws is then its own affair.
    seeds: i32[B], in [0, N); as many walks from a node as it is named.
    steps: L.
    restart: probability, in [0, 1).

  Raises:
    ValueError: a number is out of range, or shapes do not agree.
  """
  words = _words("random_walks", keys, graph, seeds, steps, restart)
  seeds = jnp.asarray(seeds, jnp.int32)
  graph = jax.tree.map(jnp.asarray, graph)

  def step(node: jax.Array, words: jax.Array) -> tuple[jax.Array, jax.Array]:
    node = _next(jnp, graph, node, seeds, words, restart)
    return node, node

  _, visited = jax.lax.scan(step, seeds, words)
  return jnp.concatenate([seeds[:, None], visited.T], axis=1)


def walk_subgraphs(
  keys: jax.Array,
  graph: Graph,
  seeds: jax.Array,
  *,
  steps: int = 256,
  restart: float = 0.8,
  max_nodes: int = 64,
  max_hops: int | None = None,
) -> Subgraphs:
  """The subgraphs induced by what walks from the seeds visit.

  On shops of 17 to 70 thousand nodes 256 steps visit 26 nodes on average and hardly ever 64.

  Args:
    keys, graph, seeds, steps, restart: see `random_walks`.
    max_nodes: n; of a walk that visits more, those that it came to first.
    max_hops: leaves out nodes further from the seed within the subgraph, whose place is then empty
      (r-ego subgraphs, thinned by the walk: whole ones have thousands of nodes). None: none.

  Raises:
    ValueError: see `random_walks`.
  """
  checks.whole_number("walk_subgraphs: max_nodes", max_nodes, least=1)
  words = _words("walk_subgraphs", keys, graph, seeds, steps, restart)
  seeds = jnp.asarray(seeds, jnp.int32)
  graph = jax.tree.map(jnp.asarray, graph)
  places = jnp.arange(max_nodes, dtype=jnp.int32)

  def step(state: tuple[jax.Array, ...], words: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
    node, nodes, count = state
    node = _next(jnp, graph, node, seeds, words, restart)
    new = ~jnp.any(nodes == node[:, None], axis=1)
    put = new[:, None] & (places == count[:, None])
    return (node, jnp.where(put, node[:, None], nodes), count + new.astype(jnp.int32)), None

  nodes = jnp.where(places == 0, seeds[:, None], -1)
  (_, nodes, _), _ = jax.lax.scan(step, (seeds, nodes, jnp.ones_like(seeds)), words)
  sub = Subgraphs(nodes, induced(graph, nodes))
  return sub if max_hops is None else within(sub, max_hops)


def induced(graph: Graph, nodes: jax.Array) -> jax.Array:
  """bool[B, n, n]: which of the nodes i32[B, n] are neighbours; -1 is no one's."""
  n = nodes.shape[1]
  first, second = np.triu_indices(n, 1)
  found = has_edge(graph, jnp.maximum(nodes[:, first], 0), nodes[:, second])
  found &= (nodes[:, first] >= 0) & (nodes[:, second] >= 0)
  place = np.full((n, n), len(first))  # of each pair among those that were asked for; else False
  place[first, second] = place[second, first] = np.arange(len(first))
  return jnp.pad(found, ((0, 0), (0, 1)))[:, place]


def within(sub: Subgraphs, max_hops: int) -> Subgraphs:
  """Subgraphs without the nodes that are more than so many edges from their seed."""
  checks.whole_number("within: max_hops", max_hops, least=0)
  reached = jnp.zeros_like(sub.mask).at[:, 0].set(True)
  for _ in range(max_hops):
    reached |= jnp.any(sub.adjacency & reached[:, None], axis=2)
  both = reached[:, :, None] & reached[:, None]
  return Subgraphs(jnp.where(reached, sub.nodes, -1), sub.adjacency & both)


def walks_on_host(
  rng: np.random.Generator, graph: Graph, seeds: np.ndarray, *, steps: int, restart: float
) -> np.ndarray:
  """`random_walks` in NumPy, in lockstep; of the same law."""
  _check("walks_on_host", graph, seeds, steps, restart)
  words = rng.integers(0, 2**32, (steps, len(seeds)), np.uint32)
  graph, node = Graph(*map(np.asarray, graph)), np.asarray(seeds, np.int32)
  visited = [node]
  for row in words:
    visited.append(_next(np, graph, visited[-1], node, row, restart))
  return np.stack(visited, axis=1)


def subgraphs_on_host(
  rng: np.random.Generator,
  graph: Graph,
  seeds: np.ndarray,
  *,
  steps: int = 256,
  restart: float = 0.8,
  max_nodes: int = 64,
  max_hops: int | None = None,
) -> Subgraphs:
  """`walk_subgraphs` in NumPy, of the same law; arrays of the host."""
  trace = walks_on_host(rng, graph, seeds, steps=steps, restart=restart)
  order = np.argsort(trace, axis=1, kind="stable")
  ordered = np.take_along_axis(trace, order, axis=1)
  visited = np.ones(trace.shape, bool)  # for the first time
  np.put_along_axis(visited, order[:, 1:], ordered[:, 1:] != ordered[:, :-1], axis=1)
  place = np.cumsum(visited, axis=1) - 1
  b, step = np.nonzero(visited & (place < max_nodes))
  nodes = np.full((len(trace), max_nodes), -1, np.int32)
  nodes[b, place[b, step]] = trace[b, step]

  first, second = np.triu_indices(max_nodes, 1)
  b, pair = np.nonzero(nodes[:, second] >= 0)  # then there is the first as well
  i, j = first[pair], second[pair]
  adjacency = np.zeros((len(trace), max_nodes, max_nodes), bool)
  adjacency[b, i, j] = adjacency[b, j, i] = _beside(graph, nodes[b, i], nodes[b, j])
  sub = Subgraphs(nodes, adjacency)
  return sub if max_hops is None else Subgraphs(*map(np.asarray, within(sub, max_hops)))


def _beside(graph: Graph, source: np.ndarray, target: np.ndarray) -> np.ndarray:
  """`has_edge` on the host."""
  indptr, indices = graph
  low, high = indptr[source], indptr[source + 1]
  end, last = high, max(len(indices) - 1, 0)
  while np.any(low < high):
    middle = low + (high - low) // 2
    right = (low < high) & (indices[np.minimum(middle, last)] < target)
    low, high = np.where(right, middle + 1, low), np.where(right, high, middle)
  found = low < end
  found[found] = indices[low[found]] == target[found]
  return found


def _words(
  name: str, keys: jax.Array, graph: Graph, seeds: jax.Array, steps: int, restart: float
) -> jax.Array:
  """u32[L, B], after the checks of what walks are made from."""
  _check(name, graph, seeds, steps, restart)
  if seeds.ndim != 1 or keys.ndim > 1 or (keys.ndim and keys.shape != seeds.shape):
    raise ValueError(
      f"{name}: seeds must be i32[B] and keys one or [B]; "
      f"found {list(seeds.shape)} and {list(keys.shape)}"
    )
  if not keys.ndim:
    keys = jax.random.split(keys, len(seeds))
  return jax.vmap(lambda key: jax.random.bits(key, (steps,), jnp.uint32), out_axes=1)(keys)


def _check(name: str, graph: Graph, seeds: Any, steps: int, restart: float) -> None:
  checks.whole_number(f"{name}: steps", steps, least=1)
  checks.integers_in_range(f"{name}: seeds", seeds, graph.num_nodes)
  if not 0 <= restart < 1:
    raise ValueError(f"{name}: restart is {restart}; it must be in [0, 1)")


def _next(xp: ModuleType, graph: Graph, node: Any, seeds: Any, words: Any, restart: float) -> Any:
  """Where walks are after a step, by a word u32[B] each.

  The least restart * 2^32 of the words lead back; the rest of division picks a neighbour, which
  favours the first ones by less than degree / (2^32 - restart 2^32).
  """
  back = xp.asarray(int(restart * 2**32), xp.uint32)
  if not graph.num_edges:
    return xp.where(words < back, seeds, node)
  begin = graph.indptr[node]
  degree = graph.indptr[node + 1] - begin
  drawn = (words - back) % xp.maximum(degree, 1).astype(xp.uint32)
  moves = (words >= back) & (degree > 0)
  neighbour = graph.indices[xp.where(moves, begin + drawn.astype(xp.int32), 0)]
  return xp.where(moves, neighbour, xp.where(words < back, seeds, node))
