"""`recommend`: to users what NumPy ranks, to newcomers what they would be recommended as users."""

import csv
import dataclasses
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.ratings.conftest import ENCODER, FACTORS, fitted
from train import run
from train.ratings import newcomers, recommending
from train.ratings.checks import ChecksStage
from train.ratings.factors import FactorStage
from train.ratings.rankings import CosineContrastive
from train.ratings.starts import Encoded, Normal, Untrained
from vqlab import graph


@pytest.fixture(autouse=True)
def promotion():
  with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
    yield


def opened(folder):
  loaded = run.load(folder)
  return loaded, loaded.the(FactorStage), loaded.splits.target


def plainly(done, shop, user, k):
  """The k items of highest score that a user took in no split, and their scores."""
  scores = np.asarray(done.learned.item) @ np.asarray(done.learned.user[user])
  scores[shop.item[shop.user == user]] = -np.inf
  order = np.argsort(-scores, kind="stable")[:k]
  return order, scores[order]


def cells(out):
  """The rows of all tables printed, without what is around them."""
  rows = [line.strip("│ \n").split("│") for line in out.splitlines() if line.startswith("│")]
  return [[cell.strip() for cell in row] for row in rows]


def test_a_user(market_run, here):
  _, done, shop = opened(market_run)
  status, out, err = here("recommend", market_run, "--user", "700", "--top", "7")
  assert status == 0 and not err
  assert "what user 700 took, the most recent first" in out and "products of vectors" in out
  taken = shop.item[shop.user == 700][::-1]
  rows = cells(out)
  assert [row[0] for row in rows[:10]] == taken[:10].astype(str).tolist()
  assert [row[1] for row in rows[:3]] == ["test", "eval", "train"]
  assert f"and {len(taken) - 10} more" in out
  items, scores = plainly(done, shop, 700, 7)
  found = zip(range(1, 8), items, scores, strict=True)
  assert rows[10:] == [[str(k), str(item), f"{score:.4f}"] for k, item, score in found]


def test_all_users(market_run, here, tmp_path, monkeypatch):
  _, done, shop = opened(market_run)
  monkeypatch.setattr(recommending, "_CHUNK", 500)
  path = tmp_path / "new" / "all.csv"
  status, out, err = here("recommend", market_run, "--all", path, "--top", "3")
  assert status == 0 and not err
  assert out == f"2,160 recommendations to 720 users: {path}\n"
  rows = list(csv.reader(path.read_text().splitlines()))
  assert rows[0] == ["user", "rank", "item", "score"] and len(rows) == 2161
  for user in range(720):
    items, scores = plainly(done, shop, user, 3)
    mine = rows[1 + 3 * user : 4 + 3 * user]
    assert [row[:3] for row in mine] == [
      [str(user), str(k), str(item)] for k, item in enumerate(items, 1)
    ]
    np.testing.assert_allclose([float(row[3]) for row in mine], scores, rtol=1e-4, atol=1e-5)


def test_a_file_is_written_whole_or_not_at_all(market_run, here, tmp_path, monkeypatch):
  def some(*args):
    yield ("a", 1, "b", "0.5")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(recommending, "_of_all", some)
  status, _, err = here("recommend", market_run, "--all", tmp_path / "all.csv")
  assert status == 2 and "can't be written: No space left" in err
  assert not list(tmp_path.glob("*.csv*")) and not list(tmp_path.glob(".*.tmp"))


def overlap(folder, users):
  """How much of the first 20 a user and a newcomer who took the same have in common."""
  loaded, done, shop = opened(folder)
  train, found = shop.lists("train"), []
  vectors = [jnp.asarray(x) for x in done.learned]
  rank = lambda user, scores, seen, count: graph.rank(
    jnp.asarray([user]), scores[None], seen, num_users=count, k=20
  )[0][0].tolist()
  for user in users:
    items = train.items[train.indptr[user] : train.indptr[user + 1]]
    seen = newcomers.joined(shop, items)
    own = newcomers.vector(loaded, done, items, seen)
    again = newcomers.vector(loaded, done, items, seen)
    np.testing.assert_array_equal(own, again)
    his = rank(user, vectors[1] @ vectors[0][user], shop.graph, shop.num_users)
    news = rank(shop.num_users, vectors[1] @ own, seen, shop.num_users + 1)
    found.append(len(set(his) & set(news)) / 20)
  return np.mean(found)


def test_a_newcomer_is_recommended_what_a_user_is(market_run, layered_run):
  # By chance 20 of 720 have 0.03 in common.
  assert overlap(market_run, [3, 250, 650]) > 0.5
  assert overlap(layered_run, [3, 250, 650]) > 0.5


@pytest.mark.parametrize(
  "changes",
  [
    {"ranking": CosineContrastive(weight=1.0), "negatives_by": "popularity"},
    {"ranking": CosineContrastive(weight=1.0), "layers": 1},
  ],
)
def test_a_newcomer_by_cosines(tmp_path, changes):
  stage = dataclasses.replace(FACTORS, **changes)
  folder = fitted(tmp_path / "run", "cosines", factors=stage)
  assert overlap(folder, [3, 650]) > 0.5
  loaded, done, shop = opened(folder)
  items = np.array([1, 2, 5], np.int32)
  own = newcomers.vector(loaded, done, items, newcomers.joined(shop, items))
  np.testing.assert_allclose(jnp.linalg.norm(own), 1, rtol=1e-5)


def test_what_a_newcomer_begins_as(market_run, monkeypatch):
  """The encoder's view of him, among those of users who took much the same; nothing is trained."""
  monkeypatch.setattr(newcomers, "STEPS", 1)
  monkeypatch.setattr(newcomers, "RATE", 0.0)
  loaded, done, shop = opened(market_run)
  items = shop.lists("train").of(np.array([700]), 9)[0]
  seen = newcomers.joined(shop, items)
  of = lambda start: newcomers.vector(
    loaded, done._replace(stage=with_start(loaded, done, start)), items, seen
  )
  for start in (Encoded(scale=2.0), Untrained(scale=2.0, encoder=ENCODER)):
    np.testing.assert_allclose(jnp.linalg.norm(of(start)), 2.0, rtol=0.2)
  assert 0.1 < jnp.linalg.norm(of(Normal())) < 1.0


def with_start(loaded, done, start):
  stage = dataclasses.replace(done.stage, start=start)
  loaded.config.stages["factors"] = stage
  return stage


def test_a_newcomer_on_the_command_line(market_run, here):
  status, out, err = here("recommend", market_run, "--user-items", "7, 9,7,11", "--top", "4")
  assert status == 0 and not err
  rows = cells(out)
  assert rows[:3] == [["7"], ["9"], ["11"]] and [row[0] for row in rows[3:]] == list("1234")
  assert not {"7", "9", "11"} & {row[1] for row in rows[3:]}


def test_what_can_not_be_asked(market_run, here, tmp_path):
  for args, message in {
    (): "give exactly one of --user ID, --user_items ITEM,ITEM,... and --all FILE.csv",
    ("--user", "1", "--all", "x.csv"): "give exactly one of",
    ("--user", "1", "--user_items", "1"): "give exactly one of",
    ("--all", "x.txt"): "--all is x.txt; it must be a file that ends in .csv",
    ("--user", "7111"): "--user: market has no user '7111'; did you mean 711?",
    ("--user", "somebody"): "--user: market has no user 'somebody'",
    ("--user_items", "3,7111"): "--user_items: market has no item '7111'; did you mean 711?",
    ("--user_items", ","): "--user_items is empty; name items",
    ("--user_items", ",".join(map(str, range(720)))): "they are all 720 items that there are",
    ("--user", "1", "--top", "0"): "--top is 0; it must be at least 1",
  }.items():
    status, out, err = here("recommend", market_run, *args)
    assert status == 2 and not out and err.startswith("error: ") and err.count("\n") == 1
    assert message in err
  status, _, err = here("recommend", tmp_path, "--user", "1")
  assert status == 2 and "holds no experiment" in err


def test_there_must_be_vectors(market_run, here, tmp_path):
  folder = shutil.copytree(market_run, tmp_path / "run")
  (folder / "factors" / "done.json").unlink()
  status, _, err = here("recommend", folder, "--user", "1")
  assert status == 2 and re.search("the stage 'factors' is not finished; run fit again", err)
  other = fitted(tmp_path / "other", "checks", checks=ChecksStage())
  status, _, err = here("recommend", other, "--user", "1")
  assert status == 2 and "'checks' has no stage of the kind FactorStage" in err
