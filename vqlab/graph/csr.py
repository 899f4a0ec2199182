"""Graphs as compressed sparse rows: a pytree of two arrays, searched and walked inside jit.

An edge between u and v is stored twice, as a neighbour of either. A bipartite graph of users and
items is one graph of N = U + I nodes: user u is node u, item i is node U + i.

Graphs are made on the host, as their sizes depend on the data; all else may be traced.

Letters: N nodes, E stored edges (twice those of an undirected graph), U users, I items.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.nn import checks


class Graph(NamedTuple):
  """The neighbours of node v, ascending, are indices[indptr[v] : indptr[v + 1]]."""

  indptr: jax.Array  # i32[N + 1]
  indices: jax.Array  # i32[E]

  @property
  def num_nodes(self) -> int:
    return self.indptr.shape[0] - 1

  @property
  def num_edges(self) -> int:
    """E, each edge of an undirected graph counted twice."""
    return self.indices.shape[0]


def from_edges(
  source: np.ndarray, target: np.ndarray, num_nodes: int, *, directed: bool = False
) -> Graph:
  """A graph of the edges between source[k] and target[k]; those given twice are one.

  Args:
    source, target: int[K], each in [0, num_nodes).
    directed: whether target is source's neighbour only, and not source target's.

  Raises:
    ValueError: the arrays are no integers of one length, or a node is out of range.
  """
  checks.whole_number("from_edges: num_nodes", num_nodes, least=1)
  source, target = np.asarray(source), np.asarray(target)
  if source.shape != target.shape or source.ndim != 1:
    raise ValueError(
      "from_edges: source and target must be int[K]; "
      f"found {list(source.shape)} and {list(target.shape)}"
    )
  for name, nodes in (("source", source), ("target", target)):
    if nodes.size and nodes.dtype.kind not in "iu":
      raise ValueError(f"from_edges: {name} holds {nodes.dtype}; it must hold integers")
    checks.integers_in_range(f"from_edges: nodes of {name}", nodes, num_nodes)
  source, target = source.astype(np.int64), target.astype(np.int64)
  keys = source * num_nodes + target
  if not directed:
    keys = np.concatenate([keys, target * num_nodes + source])
  keys.sort()  # np.unique would fill a hash table with them before, for many times as long
  keys = keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
  if keys.size >= 2**31:
    raise ValueError(f"from_edges: {keys.size:,} edges; a graph may have 2^31 - 1")
  rows, indices = np.divmod(keys, num_nodes)
  indptr = np.zeros(num_nodes + 1, np.int32)
  np.cumsum(np.bincount(rows, minlength=num_nodes), out=indptr[1:])
  return Graph(indptr, indices.astype(np.int32))


def from_interactions(
  users: np.ndarray, items: np.ndarray, num_users: int, num_items: int
) -> Graph:
  """The bipartite graph of who took what: user u is node u, item i is node num_users + i.

  Args:
    users, items: int[K], in [0, num_users) and [0, num_items).

  Raises:
    ValueError: see `from_edges`.
  """
  checks.whole_number("from_interactions: num_users", num_users, least=1)
  checks.whole_number("from_interactions: num_items", num_items, least=1)
  users, items = np.asarray(users), np.asarray(items)
  if items.size and items.dtype.kind not in "iu":
    raise ValueError(f"from_interactions: items holds {items.dtype}; it must hold integers")
  checks.integers_in_range("from_interactions: users", users, num_users)
  checks.integers_in_range("from_interactions: items", items, num_items)
  return from_edges(users, items.astype(np.int64) + num_users, num_users + num_items)


def degrees(graph: Graph) -> jax.Array:
  """i32[N]: how many neighbours each node has."""
  return graph.indptr[1:] - graph.indptr[:-1]


def sources(graph: Graph) -> jax.Array:
  """i32[E]: whose neighbour each of `indices` is."""
  nodes = jnp.arange(graph.num_nodes, dtype=jnp.int32)
  return jnp.repeat(nodes, degrees(graph), total_repeat_length=graph.num_edges)


def has_edge(graph: Graph, source: jax.Array, target: jax.Array) -> jax.Array:
  """Whether target is a neighbour of source, by binary search; broadcasts.

  Args:
    source: i32[...], in [0, N).
    target: i32[...], anything: no node has a neighbour that there is not.
  """
  source, target = jnp.broadcast_arrays(source, target)
  begin, end = jnp.asarray(graph.indptr)[source], jnp.asarray(graph.indptr)[source + 1]
  if not graph.num_edges:
    return jnp.zeros(source.shape, bool)
  indices = jnp.asarray(graph.indices)

  def halve(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = state
    middle = low + (high - low) // 2  # their sum may be beyond 2^31
    right = (indices[middle] < target) & (low < high)
    return jnp.where(right, middle + 1, low), jnp.where(right, high, middle)

  low, _ = jax.lax.fori_loop(0, halvings(graph), lambda _, state: halve(state), (begin, end))
  found = indices[jnp.minimum(low, graph.num_edges - 1)]
  return (low < end) & (found == target)


def halvings(graph: Graph) -> jax.Array:
  """i32[]: how often the longest row must be halved until nothing is left to search.

  Of the whole graph, not of the rows that are asked for: those may lie on other devices.
  """
  return 32 - jax.lax.clz(jnp.max(degrees(graph)))


def bfs_distances(graph: Graph, seed: jax.Array, *, max_hops: int) -> jax.Array:
  """i32[N]: edges on the shortest path from the seed to each node; -1 beyond `max_hops`."""
  checks.whole_number("bfs_distances: max_hops", max_hops, least=0)
  source, target = sources(graph), jnp.asarray(graph.indices)
  distance = jnp.full(graph.num_nodes, -1, jnp.int32).at[seed].set(0)

  def hop(k: jax.Array, distance: jax.Array) -> jax.Array:
    beside = jnp.zeros(graph.num_nodes, bool).at[target].max(distance[source] == k)
    return jnp.where(beside & (distance < 0), k + 1, distance)

  return jax.lax.fori_loop(jnp.int32(0), jnp.int32(max_hops), hop, distance)


def k_core(
  users: np.ndarray, items: np.ndarray, *, user_core: int = 1, item_core: int = 1
) -> np.ndarray:
  """bool[K]: the interactions left when users and items with too few are taken away until none is.

  Args:
    users, items: int[K], not negative; an interaction that is given twice counts twice.
    user_core, item_core: the fewest interactions of a user, and of an item.
  """
  users, items = np.asarray(users, np.int64), np.asarray(items, np.int64)
  kept = np.arange(len(users))
  while True:
    enough = np.bincount(users[kept])[users[kept]] >= user_core
    enough &= np.bincount(items[kept])[items[kept]] >= item_core
    if enough.all():
      break
    kept = kept[enough]
  mask = np.zeros(len(users), bool)
  mask[kept] = True
  return mask


def core_numbers(graph: Graph) -> np.ndarray:
  """i32[N]: the largest k for which a node is in the k-core of an undirected graph. On the host.

  The k-core is what is left when nodes with less than k neighbours are taken away until there are
  none (Seidman 1983).
  """
  source, target = np.asarray(sources(graph)), np.asarray(graph.indices)
  number = np.zeros(graph.num_nodes, np.int32)
  k = 0
  while source.size:
    count = np.bincount(source, minlength=graph.num_nodes)
    kept = (count > k)[source] & (count > k)[target]
    if kept.all():  # all that is left is in the core of k + 1
      k += 1
      number[np.unique(source)] = k
    else:
      source, target = source[kept], target[kept]
  return number
