"""A shop: who took what, numbered, and which of it is held out; what every source of ratings opens.

A split is evaluated by full ranking, so its examples are users: each with the items that are held
out of it, and those that are left out of its ranking besides what it was trained on.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from train.data.columns import Columns
from train.data.examples import Examples
from train.errors import BadInput
from train.files import whole
from vqlab import graph

SPLITS = ("train", "eval", "test")  # by their numbers in `Shop.split`


class Lists(NamedTuple):
  """Items of each user: those of user u are items[indptr[u] : indptr[u + 1]]."""

  indptr: np.ndarray  # i64[U + 1]
  items: np.ndarray  # i32[K]

  @property
  def lengths(self) -> np.ndarray:
    """i64[U]: how many items each user has."""
    return np.diff(self.indptr)

  def of(self, users: np.ndarray, width: int) -> np.ndarray:
    """i32[N, width]: the items of some users i32[N], filled up with -1."""
    places = np.arange(width)
    inside = places < self.lengths[users][:, None]
    rows = np.full(inside.shape, -1, np.int32)
    rows[inside] = self.items[(self.indptr[users][:, None] + places)[inside]]
    return rows


class Users(Examples):
  """Users who are evaluated, in order: `user` i32[], `held_out` i32[T], `known` i32[X].

  `held_out` are the user's items of the split, `known` those that are left out of the ranking in
  addition to the training items; both are filled up with -1.
  """

  def __init__(self, users: np.ndarray, held_out: Lists, known: Lists, *, name: str):
    """T is the most that any of the users i32[N] has, as is X, which is at least 1."""
    self.users, self.held_out, self.known, self.name = users, held_out, known, name
    self.widths = tuple(max(1, x.lengths[users].max(initial=0)) for x in (held_out, known))

  def __len__(self) -> int:
    return len(self.users)

  def read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, Any]:
    users, (held_out, known) = self.users[indices], self.widths
    rows = {"held_out": self.held_out.of(users, held_out), "known": self.known.of(users, known)}
    return {"user": users, **rows}


@dataclasses.dataclass(frozen=True, eq=False)
class Shop:
  """Interactions: row k says that user[k] took item[k], and in which split that is.

  Rows are sorted by user, and those of a user by time; where splits are given, split by split.
  """

  name: str
  user_ids: np.ndarray  # str[U]: what a user is called in the data
  item_ids: np.ndarray  # str[I]
  user: np.ndarray  # i32[n]
  item: np.ndarray  # i32[n]
  split: np.ndarray  # u8[n]: a place in SPLITS
  counts: dict[str, int]  # rows that were read, and what of them was left out

  @property
  def num_users(self) -> int:
    return len(self.user_ids)

  @property
  def num_items(self) -> int:
    return len(self.item_ids)

  def rows(self, split: str) -> tuple[np.ndarray, np.ndarray]:
    """(user i32[m], item i32[m]) of "train", "eval" or "test"."""
    mask = self.split == SPLITS.index(split)
    return self.user[mask], self.item[mask]

  def lists(self, split: str) -> Lists:
    """The items of each user in a split."""
    user, item = self.rows(split)
    return Lists(np.searchsorted(user, np.arange(self.num_users + 1)), item)

  @functools.cached_property
  def graph(self) -> graph.Graph:
    """The bipartite graph of the training rows: item i is node num_users + i."""
    return graph.from_interactions(*self.rows("train"), self.num_users, self.num_items)

  def examples(self) -> dict[str, Examples]:
    """Training rows as Columns of `user` and `item`; "eval" and, where there are any, "test" Users.

    A user without training items is not evaluated.

    Raises:
      BadInput: nobody is evaluated.
    """
    user, item = self.rows("train")
    found = {"train": Columns({"user": user, "item": item}, name=f"{self.name} train")}
    trained, nothing = np.bincount(user, minlength=self.num_users) > 0, np.zeros(0, np.int32)
    evaluated, none = self.lists("eval"), Lists(np.zeros(self.num_users + 1, np.int64), nothing)
    for split, known in (("eval", none), ("test", evaluated)):
      lists = self.lists(split)
      users = np.flatnonzero((lists.lengths > 0) & trained).astype(np.int32)
      if len(users):
        found[split] = Users(users, lists, known, name=f"{self.name} {split}")
    if "eval" not in found:
      raise BadInput(
        f"{self.name}: of no user items are both trained on and held out for eval; set data.split "
        "to another one, or give users with more items"
      )
    return found

  def about(self) -> dict[str, Any]:
    """Its sizes, in JSON's types."""
    return {
      "users": self.num_users,
      "items": self.num_items,
      "interactions": len(self.user),
      "splits": {name: int(np.sum(self.split == k)) for k, name in enumerate(SPLITS)},
      "counts": self.counts,
    }

  def same(self, other: "Shop") -> bool:
    """Whether another one has the same rows, ids and splits."""
    return all(np.array_equal(getattr(self, x), getattr(other, x)) for x in _ARRAYS)

  def write(self, path: pathlib.Path) -> None:
    """As .npz, whole or not at all; raises BadInput where it can't be written."""
    arrays = {name: getattr(self, name) for name in _ARRAYS}
    with whole(path) as temporary, open(temporary, "wb") as file:
      np.savez(file, **arrays, counts=json.dumps(self.counts))

  @classmethod
  def read(cls, path: pathlib.Path, name: str) -> "Shop":
    """What `write` wrote; raises BadInput where it is damaged."""
    try:
      with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        counts = json.loads(arrays["counts"].item())
        return cls(name, **{x: arrays[x] for x in _ARRAYS}, counts=counts)
    except Exception as error:  # there is hardly a kind that zips do not raise
      raise BadInput(f"{path}: can't be read ({error}); delete it, to be prepared anew") from None


_ARRAYS = ("user_ids", "item_ids", "user", "item", "split")


class Shops(NamedTuple):
  """What a source of ratings opens; a single shop is both."""

  source: Shop  # where networks are trained first
  target: Shop  # where items are recommended
