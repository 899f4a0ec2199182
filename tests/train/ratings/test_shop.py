"""A shop: its rows, its graph, and who is evaluated on what."""

import numpy as np
import pytest

from train.data import eval_batches, train_batches
from train.errors import BadInput
from train.ratings.shop import SPLITS, Shop


def shop_of(rows, users=None, items=None, name="shop"):
  """A shop of rows (user, item, split), sorted by user."""
  user, item, split = np.array(rows).T
  ids = (np.arange(n or x.max() + 1).astype(str) for n, x in ((users, user), (items, item)))
  return Shop(name, *ids, user.astype("i4"), item.astype("i4"), split.astype("u1"), {"rows": 9})


@pytest.fixture
def random_shop():
  rng = np.random.default_rng(0)
  pairs = np.argwhere(rng.random((60, 40)) < 0.2)
  split = rng.choice(3, len(pairs), p=(0.6, 0.2, 0.2))
  split[pairs[:, 0] == 7] = 1  # a user who is not trained on
  return shop_of(np.column_stack([pairs, split]), 61, 40)


def of(shop, user, split):
  return shop.item[(shop.user == user) & (shop.split == SPLITS.index(split))].tolist()


def test_users_have_what_is_held_out_and_what_is_known(random_shop):
  examples = random_shop.examples()
  for split, known in (("eval", None), ("test", "eval")):
    users = examples[split]
    rows = users.read(np.arange(len(users)), None)
    there = [u for u in range(61) if of(random_shop, u, split) and of(random_shop, u, "train")]
    assert rows["user"].tolist() == there and 7 not in there and 60 not in there
    for k, user in enumerate(there):
      kept = lambda name: [int(x) for x in rows[name][k] if x >= 0]  # noqa: B023
      assert kept("held_out") == of(random_shop, user, split)
      assert kept("known") == (of(random_shop, user, known) if known else [])
    most = max(len(of(random_shop, u, split)) for u in there)
    assert rows["held_out"].shape == (len(there), most)
    for name in ("user", "held_out", "known"):
      assert rows[name].dtype == np.int32
      some = np.array([5, 0, 5])
      np.testing.assert_array_equal(users.read(some, None)[name], rows[name][some])
  assert examples["eval"].read(np.arange(3), None)["known"].tolist() == [[-1]] * 3


def test_the_pipeline_reads_them(random_shop):
  examples = random_shop.examples()
  batches = list(eval_batches(examples["test"], 16))
  users = np.concatenate([batch["user"][batch["mask"]] for batch in batches])
  np.testing.assert_array_equal(users, examples["test"].users)
  (batch,) = train_batches(examples["train"], 0, 0, 1, len(examples["train"]))
  pairs = set(zip(*random_shop.rows("train"), strict=True))
  assert set(zip(batch["user"], batch["item"], strict=True)) == pairs


def test_its_graph_is_of_the_training_rows(random_shop):
  graph = random_shop.graph
  assert graph is random_shop.graph and graph.num_nodes == 61 + 40
  for user in range(61):
    items = graph.indices[graph.indptr[user] : graph.indptr[user + 1]] - 61
    assert items.tolist() == sorted(of(random_shop, user, "train"))


def test_without_a_test_split_there_is_none():
  shop = shop_of([(0, 0, 0), (0, 1, 1), (1, 2, 0)])
  assert shop.examples().keys() == {"train", "eval"}
  assert shop.about() == {
    "users": 2,
    "items": 3,
    "interactions": 3,
    "splits": {"train": 2, "eval": 1, "test": 0},
    "counts": {"rows": 9},
  }


def test_nobody_is_evaluated():
  for rows in ([(0, 0, 0), (1, 0, 1)], [(0, 0, 0), (0, 1, 2)]):
    with pytest.raises(BadInput, match=r"^shop: of no user items are both"):
      shop_of(rows).examples()


def test_written_and_read_it_is_the_same(random_shop, tmp_path):
  path = tmp_path / "new" / "shop.npz"
  random_shop.write(path)
  read = Shop.read(path, "another name")
  assert read.same(random_shop) and read.counts == random_shop.counts
  assert read.name == "another name" and [p.name for p in path.parent.iterdir()] == ["shop.npz"]
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(BadInput, match=r"shop\.npz: can't be read .*delete it"):
    Shop.read(path, "damaged")
