"""How good recommended items are, user by user; `total` averages them over users.

    values, items = metrics.top_k(scores, 20)
    figures = metrics.ranking(items, held_out, ks=(10, 20))    # {"recall@10": f32[B], ...}
    metrics.total(figures["recall@10"], mask=jnp.any(held_out >= 0, axis=-1))

Letters: B users, I items, K recommended, T held out, N negatives drawn.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.nn import checks
from vqlab.nn.dtypes import at_least_float32

GROUP = 32  # of 16 to 128, the fastest on CPUs for rows of 8,713 and 40,981


def top_k(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
  """The k largest of each row, [..., I] -> [..., k], and where they are: what `lax.top_k` gives.

  What is among the k largest is in one of the k groups of largest maxima, and most of a row is in
  none of them. Groups are contiguous and searched in order, so that of equal scores the first one
  is ahead here as well.

  Raises:
    ValueError: k is not in [1, I].
  """
  scores = jnp.asarray(scores)
  if not 1 <= k <= scores.shape[-1]:
    raise ValueError(f"top_k: k is {k}; it must be in [1, {scores.shape[-1]}], the items")
  length, leading = scores.shape[-1], scores.shape[:-1]
  groups = length // GROUP
  if groups < 2 * k:
    return lax.top_k(scores, k)
  grouped = groups * GROUP
  maxima = jnp.max(scores[..., :grouped].reshape(*leading, groups, GROUP), axis=-1)
  # A maximum of each of k parts: there are k as large as the least of them.
  parts = maxima[..., : groups // k * k].reshape(*leading, k, groups // k)
  largest, chosen = lax.top_k(_unless_less(maxima, jnp.max(parts, axis=-1)), k)
  within = jnp.sort(chosen, axis=-1)[..., None] * GROUP + jnp.arange(GROUP, dtype=chosen.dtype)
  rest = jnp.arange(grouped, length, dtype=chosen.dtype)
  rest = jnp.broadcast_to(rest, (*leading, length - grouped))
  places = jnp.concatenate([within.reshape(*leading, k * GROUP), rest], axis=-1)
  candidates = _unless_less(jnp.take_along_axis(scores, places, axis=-1), largest)
  values, best = lax.top_k(candidates, k)
  return values, jnp.take_along_axis(places, best, axis=-1)


def _unless_less(scores: jax.Array, bounds: jax.Array) -> jax.Array:
  """The lowest there is in place of scores less than all bounds, of which there are k.

  They are not among the k largest; and `lax.top_k` takes long on CPUs over each score that is
  larger than most before it, which these would be at the beginning of a row.
  """
  floats = jnp.issubdtype(scores.dtype, jnp.floating)
  lowest = jnp.asarray(-jnp.inf if floats else jnp.iinfo(scores.dtype).min, scores.dtype)
  return jnp.where(scores < jnp.min(bounds, axis=-1, keepdims=True), lowest, scores)


def ranking(
  recommended: jax.Array, held_out: jax.Array, *, ks: Sequence[int] = (10, 20)
) -> dict[str, jax.Array]:
  """Recall, NDCG, hit rate and reciprocal rank of the first k recommended, for each user and k.

  As LightGCN's evaluation has them: recall@k is hits over the items held out; ndcg@k has a gain of
  1 for a hit at place p = 0, 1, ... discounted by log2(p + 2), over that of min(k, held out) hits
  in front. hr@k is whether there is a hit, mrr@k is 1 / (p + 1) of the first one.

  Args:
    recommended: int[B, K], the best first and none twice; -1 is nothing, and no hit.
    held_out: int[B, T], none twice, padded with -1. Without any all figures are 0: such a user is
      for the mask of `total` to leave out.
    ks: some k, at most K each.

  Returns:
    f32[B] by name: "recall@10", "ndcg@10", "hr@10", "mrr@10", ...

  Raises:
    ValueError: shapes or dtypes are not those, or a k is not in [1, K].
  """
  recommended, held_out = jnp.asarray(recommended), jnp.asarray(held_out)
  for name, items in (("recommended", recommended), ("held_out", held_out)):
    if items.ndim != 2 or not jnp.issubdtype(items.dtype, jnp.integer):
      found = f"{items.dtype}{list(items.shape)}"
      raise ValueError(f"ranking: {name} must be int[users, items]; found {found}")
  if recommended.shape[0] != held_out.shape[0]:
    raise ValueError(
      f"ranking: {recommended.shape[0]} users are recommended items and {held_out.shape[0]} "
      "have some held out"
    )
  _check_ks("ranking", ks, recommended.shape[1])
  dtype = at_least_float32()
  exists = held_out >= 0
  recommended, held_out = (x.astype(jnp.int32) for x in (recommended, held_out))
  same = (recommended[:, :, None] == held_out[:, None]) & exists[:, None]
  hits = jnp.any(same, axis=-1).astype(dtype)
  places = jnp.arange(recommended.shape[1], dtype=dtype)
  gains = 1 / jnp.log2(places + 2)
  number = jnp.sum(exists, axis=-1, dtype=jnp.int32)
  figures = {}
  for k in ks:
    first = hits[:, :k]
    ideal = jnp.cumsum(gains[:k])[jnp.clip(number, 1, k) - 1]
    figures[f"recall@{k}"] = jnp.sum(first, axis=-1) / jnp.maximum(number, 1).astype(dtype)
    figures[f"ndcg@{k}"] = jnp.sum(first * gains[:k], axis=-1) / ideal
    figures[f"hr@{k}"] = jnp.max(first, axis=-1)
    figures[f"mrr@{k}"] = jnp.max(first / (places[:k] + 1), axis=-1)
  return figures


def rank_among(
  positive: jax.Array, negatives: jax.Array, *, keys: jax.Array | None = None
) -> jax.Array:
  """How many negatives are ahead of the positive: 0 where it is the best. [B], [B, N] -> i32[B].

  NaN counts against the positive.

  Args:
    keys: keys[B], by which the positive gets a place among negatives of its score, all alike, so
      that constant scores earn what chance does. None: equal scores count against it, as in
      ReChorus.

  Raises:
    ValueError: the shapes do not agree.
  """
  if negatives.shape[:-1] != positive.shape:
    raise ValueError(
      f"rank_among: scores of positives {list(positive.shape)} and of negatives "
      f"{list(negatives.shape)} must be [users] and [users, negatives]"
    )
  ahead = jnp.sum(~(negatives <= positive[..., None]), axis=-1, dtype=jnp.int32)
  equal = jnp.sum(negatives == positive[..., None], axis=-1, dtype=jnp.int32)
  if keys is None:
    return ahead + equal
  draw = lambda key, count: jax.random.randint(key, (), 0, count, jnp.int32)
  return ahead + jax.vmap(draw)(keys, equal + 1)


def ranking_of_one(rank: jax.Array, *, ks: Sequence[int] = (5, 10)) -> dict[str, jax.Array]:
  """What `ranking` gives where one item is held out, of its rank: i32[B], 0 for the best.

  Recall is the hit rate then and left out. With `rank_among` of negatives drawn at random this is
  the sampled protocol, whose figures are larger than those of ranking all items and may order
  models otherwise (Krichene and Rendle 2020).

  Raises:
    ValueError: a k is less than 1.
  """
  _check_ks("ranking_of_one", ks, None)
  dtype = at_least_float32()
  place = jnp.asarray(rank).astype(dtype)
  figures = {}
  for k in ks:
    hit = place < k
    figures[f"ndcg@{k}"] = jnp.where(hit, 1 / jnp.log2(place + 2), 0)
    figures[f"hr@{k}"] = hit.astype(dtype)
    figures[f"mrr@{k}"] = jnp.where(hit, 1 / (place + 1), 0)
  return figures


def _check_ks(name: str, ks: Sequence[int], most: int | None) -> None:
  for k in ks:
    checks.whole_number(f"{name}: k", k, least=1)
    if most is not None and k > most:
      raise ValueError(f"{name}: k is {k}, but {most} items are recommended")
