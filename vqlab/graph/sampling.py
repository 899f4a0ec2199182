"""Items that a user took, and items that he did not, drawn inside jit.

    items = graph.positives(keys, seen, users, num_users=U)               # i32[B]
    others = graph.negatives(keys, seen, users, num_users=U, count=8)     # i32[B, 8]

No draw is rejected. A negative is a number below the mass of all that the user did not take; a
binary search over the items he did, in order, finds how many of them lie below it. So it costs the
same for a user who took nearly everything, and is a function of his key alone, whatever the batch.

Letters: B users of a batch, U users, I items, E stored edges of a graph of U + I nodes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.graph.csr import Graph, halvings
from vqlab.nn import checks


class Popularity(NamedTuple):
  """Whole numbers as weights of items, summed up; what wraps around 2^32 is as good for sums."""

  items: jax.Array  # u32[I + 1]: of all items before; the last is the total, below 2^32
  edges: jax.Array  # u32[E + 1]: of the items of all stored edges before


def popularity(graph: Graph, *, num_users: int, power: float = 0.75) -> Popularity:
  """How likely each item is to be drawn: its degree to a power, to 32 bits. On the host.

  Items that nobody took are not drawn.

  Raises:
    ValueError: there are no items, or nobody took any.
  """
  taken = np.diff(np.asarray(graph.indptr))[num_users:].astype(np.float64)
  if not taken.any():
    raise ValueError(f"popularity: none of {len(taken)} items was taken")
  weights = np.where(taken > 0, taken**power, 0)
  # Each at least 1, and the total below 2^32.
  weights = np.ceil(weights * ((2**32 - 1 - len(taken)) / weights.sum())).astype(np.uint64)
  of_nodes = np.concatenate([np.zeros(num_users, np.uint64), weights])
  before = lambda x: np.concatenate([np.zeros(1, np.uint64), np.cumsum(x)]).astype(np.uint32)
  return Popularity(before(weights), before(of_nodes[np.asarray(graph.indices)]))


def positives(keys: jax.Array, graph: Graph, users: jax.Array, *, num_users: int) -> jax.Array:
  """One of each user's items, each as likely: i32[B], in [0, I); -1 where a user has none.

  Args:
    keys: keys[B], one a user.
    users: i32[B], in [0, U).
  """
  begin, end = _rows(graph, users)
  draw = lambda key, count: jax.random.randint(key, (), 0, count, jnp.int32)
  place = begin + jax.vmap(draw)(keys, jnp.maximum(end - begin, 1))
  return jnp.where(begin < end, _item_of(graph, place, num_users), -1)


def negatives(
  keys: jax.Array,
  graph: Graph,
  users: jax.Array,
  *,
  num_users: int,
  count: int = 1,
  by: Popularity | None = None,
) -> jax.Array:
  """Items that a user did not take, independent draws: i32[B, count], in [0, I).

  Args:
    keys: keys[B], one a user: it alone decides what he draws.
    graph: bipartite, items after users, as `from_interactions` makes it.
    users: i32[B], in [0, U).
    by: None draws each item as likely; `popularity(graph)` by degree.

  Returns:
    Numbers of items; -1 for a user who took all that could be drawn.

  Raises:
    ValueError: the graph has no items, or count is less than 1.
  """
  num_items = graph.num_nodes - num_users
  checks.whole_number("negatives: count", count, least=1)
  checks.whole_number("negatives: items of the graph", num_items, least=1)
  if by is None:  # every item weighs 1
    items, edges = jnp.arange(num_items + 1, dtype=jnp.uint32), lambda e: e.astype(jnp.uint32)
  else:
    items, edges = jnp.asarray(by.items), lambda e: jnp.asarray(by.edges)[e]
  begin, end = _rows(graph, users)
  free = items[-1] - (edges(end) - edges(begin))

  bits = jax.vmap(lambda key: jax.random.bits(key, (count,), jnp.uint32))(keys)
  mass = _scaled(bits, free[:, None])
  first, last = (jnp.broadcast_to(x[:, None], mass.shape) for x in (begin, end))

  def halve(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The first of the user's edges before which there is more to draw than the number drawn."""
    low, high = state
    middle = low + (high - low) // 2
    item = _item_of(graph, middle, num_users)
    right = (items[item] - (edges(middle) - edges(first)) <= mass) & (low < high)
    return jnp.where(right, middle + 1, low), jnp.where(right, high, middle)

  low, _ = jax.lax.fori_loop(0, halvings(graph), lambda _, state: halve(state), (first, last))
  mass = mass + (edges(low) - edges(first))
  if by is None:
    drawn = mass.astype(jnp.int32)
  else:
    drawn = jnp.searchsorted(items, mass, side="right").astype(jnp.int32) - 1
  return jnp.where(free[:, None] > 0, drawn, -1)


def _rows(graph: Graph, users: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Where each user's edges begin and end."""
  indptr = jnp.asarray(graph.indptr)
  return indptr[users], indptr[users + 1]


def _item_of(graph: Graph, edge: jax.Array, num_users: int) -> jax.Array:
  """The item of a user's edge; some item where there is no such edge."""
  if not graph.num_edges:
    return jnp.zeros_like(edge)
  return jnp.asarray(graph.indices).at[edge].get(mode="clip") - num_users


def _scaled(bits: jax.Array, limit: jax.Array) -> jax.Array:
  """floor(bits * limit / 2^32) of u32, each in [0, limit) where the bits are uniform.

  `jax.random.randint` takes a remainder, and limits here are near 2^32: half of the numbers would
  be twice as likely as the others.
  """
  high, low = bits >> 16, bits & 0xFFFF
  limit_high, limit_low = limit >> 16, limit & 0xFFFF
  middle = high * limit_low + (low * limit_low >> 16)
  carry = low * limit_high + (middle & 0xFFFF)
  return high * limit_high + (middle >> 16) + (carry >> 16)
