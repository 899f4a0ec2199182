"""Which rows are held out: the last ones of each user, or some that a hash picks."""

from collections.abc import Sequence

import numpy as np

from train.data.examples import draws_at


def by_time(user: np.ndarray, how: str, fractions: Sequence[float]) -> np.ndarray:
  """u8[n]: 0 train, 1 eval, 2 test, each user's in this order.

  Args:
    user: i32[n], ascending; rows of a user by time.
    how: "leave_one_out": of two items or more the last is eval; "leave_last_two_out": of three or
      more the last is test, that before it eval; "ratio": the last parts, see `fractions`.
    fractions: of each user, rounded: eval and test; one row at least stays in train.
  """
  count = np.bincount(user)
  if how == "ratio":
    test = np.minimum(_part(count, fractions[1]), count - 1)
    held_out = np.minimum(_part(count, fractions[0]), count - 1 - test)
  elif how == "leave_last_two_out":
    test = held_out = (count >= 3).astype(np.int64)
  else:
    test, held_out = np.zeros_like(count), (count >= 2).astype(np.int64)
  from_end = np.cumsum(count)[user] - 1 - np.arange(len(user))
  split = (from_end < (test + held_out)[user]).astype(np.uint8)
  return split + (from_end < test[user])


def at_random(user: np.ndarray, item: np.ndarray, fraction: float, seed: int) -> np.ndarray:
  """bool[n]: a part of each user's rows, rounded, by a hash; one at least stays.

  Args:
    user: i32[n], ascending, in any order within.
  """
  words = draws_at(seed, 0, (user.astype(np.uint64) << np.uint64(32)) | item.astype(np.uint64))
  order, count = np.lexsort((words, user)), np.bincount(user)
  place = np.empty(len(user), np.int64)
  place[order] = np.arange(len(user)) - (np.cumsum(count) - count)[user]
  return place < np.minimum(_part(count, fraction), count - 1)[user]


def _part(count: np.ndarray, fraction: float) -> np.ndarray:
  return np.floor(count * fraction + 0.5).astype(np.int64)
