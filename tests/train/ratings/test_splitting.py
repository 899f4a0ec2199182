"""Splits against what they say, written plainly."""

import math

import numpy as np
import pytest

from train.ratings.splitting import at_random, by_time


def plainly(user, how, fractions):
  """Of each user the splits of its rows in order."""
  half_up = lambda x: math.floor(x + 0.5)
  splits = []
  for u in sorted(set(user)):
    n = user.count(u)
    if how == "leave_one_out":
      held_out = [1] if n >= 2 else []
    elif how == "leave_last_two_out":
      held_out = [1, 2] if n >= 3 else []
    else:
      test = min(half_up(n * fractions[1]), n - 1)
      held_out = [1] * min(half_up(n * fractions[0]), n - 1 - test) + [2] * test
    splits += [0] * (n - len(held_out)) + held_out
  return splits


@pytest.mark.parametrize("how", ["leave_one_out", "leave_last_two_out", "ratio"])
@pytest.mark.parametrize("fractions", [(0.1, 0.1), (0.1, 0.2), (0.5, 0.4), (0.0, 0.3), (0.9, 0.0)])
def test_splits_by_time(how, fractions):
  counts = np.random.default_rng(0).integers(0, 30, 50)
  counts[:5] = (1, 2, 3, 4, 0)
  user = np.repeat(np.arange(50, dtype=np.int32), counts)
  split = by_time(user, how, fractions)
  assert split.dtype == np.uint8 and split.tolist() == plainly(user.tolist(), how, fractions)
  assert set(user[split == 0]) == set(user), "everyone is trained on"


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.99])
def test_a_part_at_random(fraction):
  counts = np.random.default_rng(0).integers(0, 40, 80)
  user = np.repeat(np.arange(80, dtype=np.int32), counts)
  item = np.concatenate(
    [np.random.default_rng(u).permutation(99)[:n] for u, n in enumerate(counts)]
  )
  item = item.astype(np.int32)
  out = at_random(user, item, fraction, 0)
  expected = [max(min(math.floor(n * fraction + 0.5), n - 1), 0) for n in counts]
  assert np.bincount(user[out], minlength=80).tolist() == expected
  assert set(user[~out]) == set(user)
  # Whatever the order within a user, the same are taken; by another seed others.
  order = np.lexsort((item, user))
  np.testing.assert_array_equal(at_random(user[order], item[order], fraction, 0), out[order])
  other = at_random(user, item, fraction, 1)
  assert fraction == 0.01 or (other != out).any()


def test_no_place_is_favoured():
  user, item = np.divmod(np.arange(40_000, dtype=np.int32), 20)
  taken = at_random(user, item, 0.25, 3).reshape(-1, 20).mean(axis=0)
  np.testing.assert_allclose(taken, 0.25, atol=5 * math.sqrt(0.25 * 0.75 / 2000))
