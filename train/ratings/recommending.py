"""What a finished run recommends: to a user of its shop, to a newcomer, or to all, in a file."""

import csv
import functools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from rich.text import Text

from train import compile_cache, fields, run
from train.errors import BadInput
from train.files import whole
from train.ratings import judging, newcomers
from train.ratings.factors import FactorStage
from train.ratings.shop import SPLITS, Shop
from train.ratings.verbs import Recommend
from train.report import console
from train.tables import table
from train.task import Finished, Run
from vqlab import graph

_SHOWN = 10  # of what a user took
_CHUNK = 1024  # users at a time


def recommend(verb: Recommend) -> None:
  """Prints what one user took and is recommended, or writes what all are recommended."""
  compile_cache.enable()
  loaded = run.load(verb.dir, verb.source())
  done, shop = loaded.the(FactorStage), loaded.splits.target
  top = min(verb.top, shop.num_items)
  if verb.all is not None:
    rows = 0
    with whole(verb.all) as temporary, open(temporary, "w", newline="") as file:
      writer = csv.writer(file)
      writer.writerow(("user", "rank", "item", "score"))
      for row in _of_all(done, shop, top):
        writer.writerow(row)
        rows += 1
    console.print(f"{rows:,} recommendations to {shop.num_users:,} users: {verb.all}", markup=False)
    return
  if verb.user is not None:
    user = _number("--user", "user", verb.user, shop.user_ids, shop)
    mine = shop.user == user
    _print_taken(f"user {verb.user}", shop, shop.item[mine], shop.split[mine])
    items, scores = _of_users(done, shop, top)(np.array([user], np.int32))
  else:
    taken = _numbers(verb.user_items, shop)
    _print_taken("a newcomer", shop, taken, None)
    items, scores = _of_newcomer(loaded, done, shop, taken, top)
  score = "cosines" if done.stage.ranking.cosine else "products"
  lines = table(f"recommended, by {score} of vectors", "rank", "item", "score")
  for place, (item, value) in enumerate(_there(items[0], scores[0]), 1):
    lines.add_row(str(place), Text(shop.item_ids[item]), f"{value:.4f}")
  console.print(lines)


def _of_users(done: Finished, shop: Shop, top: int):
  """Of users i32[B] the items i32[B, top], and their scores, of all that they took in no split."""
  seen, vectors = jax.tree.map(jnp.asarray, (judging.known(shop).every, done.learned))
  rank = functools.partial(graph.rank_by_vectors, num_users=shop.num_users, k=top)
  rank = jax.jit(rank)
  return lambda users: jax.device_get(rank(users, vectors.user, vectors.item, seen))


def _of_all(done: Finished, shop: Shop, top: int) -> Iterator[tuple[str, int, str, str]]:
  """(user, rank, item, score) of every user, the best first."""
  of_users, numbers = _of_users(done, shop, top), np.arange(shop.num_users, dtype=np.int32)
  for first in range(0, shop.num_users, _CHUNK):
    users = numbers[first : first + _CHUNK]
    for user, items, scores in zip(users, *of_users(users), strict=True):
      for place, (item, score) in enumerate(_there(items, scores), 1):
        yield shop.user_ids[user], place, shop.item_ids[item], f"{score:.6g}"


def _of_newcomer(loaded: Run, done: Finished, shop: Shop, taken: np.ndarray, top: int):
  """Items i32[1, top] for who took some, and their scores."""
  seen, user = newcomers.joined(shop, taken), jnp.asarray([shop.num_users], jnp.int32)
  own = newcomers.vector(loaded, done, taken, seen)
  scores = jnp.matmul(jnp.asarray(done.learned.item), own, precision=jax.lax.Precision.HIGHEST)[
    None
  ]
  return jax.device_get(graph.rank(user, scores, seen, num_users=shop.num_users + 1, k=top))


def _there(items: np.ndarray, scores: np.ndarray) -> Iterable[tuple[int, float]]:
  """Without what fills up where all else was taken."""
  return [(int(i), float(s)) for i, s in zip(items, scores, strict=True) if i >= 0]


def _print_taken(who: str, shop: Shop, items: np.ndarray, split: np.ndarray | None) -> None:
  """The last `_SHOWN` of what a user took, the most recent first; of a newcomer as he gave it."""
  order = np.arange(len(items)) if split is None else np.arange(len(items))[::-1]
  said = "" if split is None else ", the most recent first"
  lines = table(f"what {who} took{said}", "item", *([] if split is None else ["split"]))
  for k in order[:_SHOWN]:
    lines.add_row(Text(shop.item_ids[items[k]]), *([] if split is None else [SPLITS[split[k]]]))
  console.print(lines)
  if len(items) > _SHOWN:
    console.print(f"and {len(items) - _SHOWN} more")
  if split is not None and not (split == 0).any():
    console.print("nothing of it was trained on: the user's vector is little more than a start")


def _numbers(said: str, shop: Shop) -> np.ndarray:
  """i32[n]: the items of a newcomer, each once, in the order given.

  Raises:
    BadInput: there are none, one is unknown, or nothing is left to recommend.
  """
  names = dict.fromkeys(name.strip() for name in said.split(",") if name.strip())
  if not names:
    raise BadInput("--user_items is empty; name items, as in --user_items a,b,c")
  found = [_number("--user_items", "item", name, shop.item_ids, shop) for name in names]
  if len(found) == shop.num_items:
    raise BadInput(f"--user_items: they are all {shop.num_items} items that there are")
  return np.array(found, np.int32)


def _number(option: str, kind: str, name: str, ids: np.ndarray, shop: Shop) -> int:
  """The number of a user or an item; raises BadInput with the nearest where it is unknown."""
  places = np.flatnonzero(ids == name)
  if not len(places):
    raise BadInput(f"{option}: {shop.name} has no {kind} {name!r}{fields.nearest(name, ids)}")
  return int(places[0])
