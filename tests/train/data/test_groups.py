"""Groups: whole labels in ragged chunks, pure in (seed, k), the same on any number of processes."""

import numpy as np
import pytest

from train.data import (
  Examples,
  Groups,
  batch,
  batches_of,
  disjoint_groups,
  eval_batches,
  train_batches,
)
from train.errors import BadInput

COUNTS = {0: 23, 1: 1, 2: 40, 4: 7, 7: 16}  # members of every label; some labels have none
RAGGED = np.repeat(list(COUNTS), list(COUNTS.values()))[np.arange(87) * 31 % 87]


class Ragged(Examples):
  """87 examples that show their own index."""

  name, num_threads = "ragged", 3

  def __len__(self):
    return len(RAGGED)

  def read(self, indices, draws):
    return {"image": indices.reshape(-1, 1, 1, 1), "label": RAGGED[indices].astype(np.int32)}


def grouped(size, least=None):
  return Groups(Ragged(), RAGGED, group_size=size, min_group_size=least)


@pytest.fixture(params=[(5, None), (5, 2), (4, 1), (1, None), (100, None)], ids=str)
def groups(request):
  return grouped(*request.param)


def assert_same(a, b):
  assert a.keys() == b.keys()
  for name in a:
    assert a[name].dtype == b[name].dtype
    np.testing.assert_array_equal(a[name], b[name])


def shown(batches):
  return np.concatenate([b["image"][:, 0, 0, 0] for b in batches]).astype(int)


def check_groups(b, size):
  """Numbers count from 0 as they appear; a group has one label and at most `size` members."""
  group, mask = b["group"], b.get("mask", np.ones(len(b["group"]), bool))
  assert group.dtype == np.int32
  assert group[0] == 0 and set(np.diff(group)) <= {0, 1} and group.max() < len(group)
  for g in range(group.max() + 1):
    assert len(set(b["label"][group == g])) == 1
  assert np.bincount(group[mask]).max() <= size


def test_an_epoch_has_every_example_once_in_a_new_order(groups):
  epochs = [shown([batch(groups, seed, k, 87)]) for seed, k in ((0, 0), (0, 1), (1, 0), (0, 9**9))]
  for epoch in epochs:
    assert sorted(epoch) == list(range(87))
  assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
  run = list(train_batches(groups, 0, 0, 29, 6))  # two epochs, whose edge is within a batch
  np.testing.assert_array_equal(shown(run), np.concatenate(epochs[:2]))
  for b in run:
    check_groups(b, groups.group_size)


def test_chunks_have_the_sizes_asked_for(groups):
  least, most = groups.min_group_size or groups.group_size, groups.group_size
  drawn = []
  for k in range(40):
    b = batch(groups, 3, k, 87)
    sizes = np.bincount(b["group"])
    label = b["label"][np.searchsorted(b["group"], np.arange(len(sizes)))]
    assert sizes.max() <= most
    for l, members in COUNTS.items():
      own = sizes[label == l]
      assert own.sum() == members
      assert (own < least).sum() <= 1  # what is left of a label
      if least == most:
        assert len(own) == -(-members // most)
    drawn.extend(sizes[label == 2])
  if least < most:  # about as many of every size
    counts = np.bincount(drawn, minlength=most + 1)[least:]
    assert counts.min() > 0.75 * counts.mean()


def test_a_group_ends_with_its_epoch():
  """Even where the next epoch begins with the same label: no example is in a group twice."""
  groups = Groups(Ragged(), np.zeros(87, int), group_size=100)
  group = batch(groups, 0, 2, 60)["group"]  # positions 120..179
  assert group.tolist() == [0] * 54 + [1] * 6


def test_members_and_chunks_are_shuffled():
  """Who is with whom changes, and labels of neighbouring groups are those of a shuffle."""
  groups = grouped(2)
  partners, follows = set(), []
  for k in range(300):
    b = batch(groups, 0, k, 87)
    image, group, label = b["image"][:, 0, 0, 0], b["group"], b["label"]
    partners |= {
      *(zip(image[:-1][np.diff(group) == 0], image[1:][np.diff(group) == 0], strict=True))
    }
    first = label[np.r_[True, np.diff(group) != 0]]
    follows.append((first[1:] == first[:-1]).mean())
  assert len(partners) > 0.9 * sum(n * (n - 1) for n in COUNTS.values())
  chunks = np.array([-(-n // 2) for n in COUNTS.values()])
  expected = (chunks * (chunks - 1)).sum() / (chunks.sum() * (chunks.sum() - 1))
  assert abs(np.mean(follows) - expected) < 0.02


def test_a_batch_is_a_pure_function_of_seed_and_step(groups):
  run = list(train_batches(groups, 1, 0, 40, 8))
  again = grouped(groups.group_size, groups.min_group_size)
  for k in reversed(range(40)):
    assert_same(batch(again, 1, k, 8), run[k])
  for a, b in zip(train_batches(groups, 1, 17, 40, 8), run[17:], strict=True):
    assert_same(a, b)
  assert run[0]["index"].tolist() == list(range(8))
  assert not np.array_equal(shown([batch(groups, 2, 0, 8)]), shown(run[:1]))


@pytest.mark.parametrize("k", [0, 6, 10**9, 10**20])
@pytest.mark.parametrize("batch_size", [12, 300])
def test_processes_share_the_global_batch(groups, k, batch_size):
  whole = batch(groups, 3, k, batch_size)
  check_groups(whole, groups.group_size)
  for count in (2, 3):
    parts = [batch(groups, 3, k, batch_size, process=(p, count)) for p in range(count)]
    assert_same(whole, {name: np.concatenate([part[name] for part in parts]) for name in whole})
  with pytest.raises(BadInput, match="for 7 processes; give a multiple of 7"):
    batch(groups, 3, 0, 12, process=(0, 7))


def test_shuffles_are_the_same_everywhere():
  """Runs of this seed were recorded: another order would be another run."""
  b = batch(grouped(5, 2), 0, 0, 12)
  assert shown([b]).tolist() == [77, 12, 13, 84, 67, 69, 80, 41, 83, 28, 53, 81]
  assert b["group"].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("batch_size", [1, 8, 87, 100])
def test_evaluation_counts_each_example_once_in_a_fixed_order(groups, batch_size):
  batches = list(eval_batches(groups, batch_size))
  mask = np.concatenate([b["mask"] for b in batches])
  label = np.concatenate([b["label"] for b in batches])
  assert sorted(shown(batches)[mask]) == list(range(87))
  assert np.all(np.diff(label) >= 0)
  index = np.concatenate([b["index"] for b in batches])
  assert index[mask].tolist() == list(range(87))
  for b in batches:
    check_groups(b, groups.group_size)
  for a, b in zip(eval_batches(groups, batch_size), batches, strict=True):
    assert_same(a, b)
  if batch_size >= groups.group_size:  # then no group is cut
    sizes = [min(groups.group_size, n - i) for n in COUNTS.values() for i in starts(groups, n)]
    found = [np.bincount(b["group"][b["mask"]]) for b in batches]
    assert np.concatenate(found).tolist() == sizes
    for b in batches:  # what fills up is in the last of them
      assert set(b["group"][~b["mask"]]) <= {b["group"][b["mask"]][-1]}


def starts(groups, members):
  return range(0, members, groups.group_size)


def test_evaluation_on_processes(groups):
  whole = list(eval_batches(groups, 12))
  parts = [list(eval_batches(groups, 12, process=(p, 3))) for p in range(3)]
  for k, expected in enumerate(whole):
    assert_same({n: np.concatenate([part[k][n] for part in parts]) for n in expected}, expected)


def test_it_is_read_as_what_it_groups(groups):
  """A range of it is of examples, not of groups; so is what is read by index."""
  (some,) = batches_of(groups, range(30, 40), 12)
  assert shown([some]).tolist() == [*range(30, 40), 39, 39] and "group" not in some
  assert len(groups) == 87 and (groups.name, groups.num_threads) == ("ragged", 3)
  rows = np.array([80, 3])
  assert_same(groups.read(rows, None), Ragged().read(rows, None))


@pytest.mark.parametrize(
  ("sizes", "labels", "message"),
  [
    ((4, 0), [0], r"min_group_size: 0; give 1 to 4 \(group_size\), or None"),
    ((4, 5), [0], r"min_group_size: 5; give 1 to 4"),
    ((4, None), [2, 0, -1], r"ragged: example 2 has no label \(-1\)"),
  ],
)
def test_impossible_groups(sizes, labels, message):
  with pytest.raises(BadInput, match=message) as raised:
    Groups(Ragged(), np.array(labels), group_size=sizes[0], min_group_size=sizes[1])
  assert "\n" not in str(raised.value)


@pytest.mark.parametrize("k", [1, 3, 8, 20, 40])
def test_disjoint_groups(k):
  found = disjoint_groups(RAGGED, k, 0)
  assert found.dtype == np.int32
  assert found.shape == (sum(n // k for n in COUNTS.values()), k)
  assert len(np.unique(found)) == found.size
  labels = RAGGED[found]
  assert (labels == labels[:, :1]).all() and (np.diff(labels[:, 0]) >= 0).all()
  np.testing.assert_array_equal(disjoint_groups(RAGGED, k, 0), found)
  assert not np.array_equal(disjoint_groups(RAGGED, k, 1), found)
