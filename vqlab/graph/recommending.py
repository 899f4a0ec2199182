"""Recommending: the best of all items that a user did not take, by scores or by vectors.

    items, scores = graph.rank(users, scores, seen, num_users=U, k=20)
    items, scores = graph.rank_by_vectors(users, of_users, of_items, seen, num_users=U, k=20)

`metrics.ranking` judges what is recommended. Letters: B users of a batch, U users, I items, K
recommended, X left out as well, D dimensions.
"""

import jax
import jax.numpy as jnp
from jax import lax

from vqlab import metrics
from vqlab.graph.csr import Graph
from vqlab.nn import checks

BLOCK = 32  # neighbours masked at a time: most users have fewer


def rank(
  users: jax.Array,
  scores: jax.Array,
  seen: Graph,
  *,
  num_users: int,
  k: int,
  also: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """The k items of highest score that each user did not take; of equal ones the lower number first.

  Args:
    users: i32[B], in [0, U).
    scores: float[B, I].
    seen: who took what, U + I nodes, items after users.
    num_users: U.
    k: at most I.
    also: i32[B, X], further items of each user to leave out; padded with -1.

  Returns:
    Items i32[B, K], their scores [B, K]. A user whom fewer than k are left is recommended -1 after
    them, of score -inf.

  Raises:
    ValueError: the shapes do not agree, or k is not in [1, I].
  """
  num_items = seen.num_nodes - num_users
  if scores.shape != (*users.shape, num_items):
    raise ValueError(
      f"rank: scores {list(scores.shape)} must be [users, items], {[*users.shape, num_items]}"
    )
  scores = _without_taken(users, jnp.asarray(scores), seen, num_users)
  if also is not None:
    scores = _leave_out(scores, jnp.where(also >= 0, also, num_items))
  scores, items = metrics.top_k(scores, k)
  return jnp.where(scores > -jnp.inf, items, -1), scores


def rank_by_vectors(
  users: jax.Array,
  user_vectors: jax.Array,
  item_vectors: jax.Array,
  seen: Graph,
  *,
  num_users: int,
  k: int,
  also: jax.Array | None = None,
  chunk: int = 256,
) -> tuple[jax.Array, jax.Array]:
  """`rank` by the products of vectors, of so many users at a time: all scores are never held.

  Args:
    users: i32[B], in [0, U).
    user_vectors: float[U, D].
    item_vectors: float[I, D].
    chunk: users at a time. Their scores should fit a CPU's cache.
    seen, num_users, k, also: see `rank`; so for what is returned and raised.
  """
  checks.whole_number("rank_by_vectors: chunk", chunk, least=1)
  user_vectors, item_vectors = jnp.asarray(user_vectors), jnp.asarray(item_vectors)

  def some(part: tuple[jax.Array, jax.Array | None]) -> tuple[jax.Array, jax.Array]:
    users, also = part
    # In float32 where a platform would take fewer bits of it.
    scores = jnp.matmul(user_vectors[users], item_vectors.T, precision=lax.Precision.HIGHEST)
    return rank(users, scores, seen, num_users=num_users, k=k, also=also)

  if len(users) <= chunk:
    return some((users, also))
  whole = len(users) // chunk * chunk
  split = lambda x: x[:whole].reshape(-1, chunk, *x.shape[1:])
  ranked = lax.map(some, jax.tree.map(split, (users, also)))
  ranked = jax.tree.map(lambda x: x.reshape(whole, k), ranked)
  if whole < len(users):
    rest = some(jax.tree.map(lambda x: x[whole:], (users, also)))
    ranked = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), ranked, rest)
  return ranked


def _leave_out(scores: jax.Array, items: jax.Array) -> jax.Array:
  """-inf for items [B, X] of each row; I is none of them."""
  rows = jnp.arange(len(scores), dtype=jnp.int32)[:, None]
  return scores.at[rows, items].set(-jnp.inf, mode="drop")


def _without_taken(users: jax.Array, scores: jax.Array, seen: Graph, num_users: int) -> jax.Array:
  """-inf for what users took, block by block, as many as the one who took most needs."""
  if not seen.num_edges:
    return scores
  indptr, indices = jnp.asarray(seen.indptr), jnp.asarray(seen.indices)
  begin, end = indptr[users], indptr[users + 1]
  blocks = (jnp.max(end - begin, initial=0) + BLOCK - 1) // BLOCK

  def body(k: jax.Array, scores: jax.Array) -> jax.Array:
    place = (begin + k * BLOCK)[:, None] + jnp.arange(BLOCK, dtype=jnp.int32)
    items = indices.at[place].get(mode="clip") - num_users
    return _leave_out(scores, jnp.where(place < end[:, None], items, scores.shape[1]))

  return lax.fori_loop(jnp.int32(0), blocks, body, scores)
