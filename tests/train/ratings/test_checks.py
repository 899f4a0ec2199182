"""Checks that need no training, and full ranking, against what they say written plainly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.ratings.test_shop import shop_of
from train import run, summary
from train.errors import Damaged, Preempted
from train.ratings import checks, judging
from train.ratings.checks import ChecksStage
from train.ratings.judging import Judge
from train.ratings.sources import Table
from train.task import reported


def plainly(shop, users, scores, ks):
  """Figures of each user f64[B] by full ranking: all items in a loop, sorted by NumPy."""
  found = {f"{name}@{k}": [] for k in ks for name in ("recall", "ndcg", "hr", "mrr")}
  for user, row in zip(users, scores, strict=True):
    items, split = shop.item[shop.user == user], shop.split[shop.user == user]
    held_out = set(items[split == 2].tolist())
    left = np.setdiff1d(np.arange(len(row)), items[split < 2])
    order = left[np.argsort(-row[left], kind="stable")].tolist()
    for k in ks:
      places = [p for p, item in enumerate(order[:k]) if item in held_out]
      ideal = sum(1 / np.log2(p + 2) for p in range(min(k, len(held_out))))
      found[f"recall@{k}"].append(len(places) / len(held_out))
      found[f"ndcg@{k}"].append(sum(1 / np.log2(p + 2) for p in places) / ideal)
      found[f"hr@{k}"].append(float(bool(places)))
      found[f"mrr@{k}"].append(1 / (1 + places[0]) if places else 0.0)
  return {name: np.array(each) for name, each in found.items()}


def judged(shop, users, scores, ks):
  examples, known = reported(shop.examples()), judging.known(shop)
  places = np.searchsorted(examples.users, users)
  batch = examples.read(places, None)
  judge = jax.jit(Judge(ks=ks).per_user, static_argnums=(3, 4))
  return judge(jnp.asarray(scores), batch, known, shop.num_users, 0)


def same(ours, theirs):
  assert ours.keys() == theirs.keys()
  for name, each in theirs.items():
    if name.startswith("ndcg"):  # a sum of logarithms
      np.testing.assert_allclose(ours[name], each, rtol=1e-6, err_msg=name)
    else:
      np.testing.assert_array_equal(ours[name], np.float32(each), err_msg=name)


def random_shop(seed, users=40, items=50):
  rng = np.random.default_rng(seed)
  pairs = np.argwhere(rng.random((users, items)) < 0.3)
  return shop_of(np.column_stack([pairs, rng.choice(3, len(pairs))]), users, items)


@pytest.mark.parametrize("values", [3, 10**6])
def test_full_ranking_is_plain_sorting(values):
  shop = random_shop(0)
  users = reported(shop.examples()).users
  scores = np.random.default_rng(1).integers(0, values, (len(users), 50)).astype(np.float32)
  same(judged(shop, users, scores, (1, 5, 20)), plainly(shop, users, scores, (1, 5, 20)))


def test_scores_are_those_written_plainly():
  shop = random_shop(2)
  taken = np.zeros((40, 50))
  taken[shop.rows("train")] = 1
  scorers = ChecksStage(neighbours=7).scorers(shop, seed=0)
  users = np.array([3, 0, 3, 39], np.int32)
  np.testing.assert_array_equal(scorers["popularity"](users), np.tile(taken.sum(axis=0), (4, 1)))
  lengths = np.maximum(np.sqrt((taken**2).sum(axis=0)), 1e-6)
  cosine = (taken / lengths).T @ (taken / lengths)
  np.fill_diagonal(cosine, 0)
  kept = np.zeros_like(cosine)
  for item, row in enumerate(cosine):
    best = np.argsort(-np.float32(row), kind="stable")[:7]
    kept[item, best] = row[best]
  similar = checks.similarities(checks.rows_of(shop), 7)
  # Where cosines are equal, their rounding may keep one for another: as many, and as large.
  assert (np.diff(similar.indptr) <= 7).all()
  np.testing.assert_allclose(similar.sum(axis=1), kept.sum(axis=1), rtol=1e-5)
  np.testing.assert_allclose(similar.toarray()[similar.nonzero()], cosine[similar.nonzero()], 1e-5)
  by_neighbours = scorers["item_knn"](users)
  np.testing.assert_allclose(by_neighbours, taken[users] @ similar.toarray(), rtol=1e-5)
  chance = np.asarray(scorers["random"](users))
  np.testing.assert_array_equal(chance[0], chance[2], "a user's are his, whatever the batch")
  assert not (chance[0] == chance[1]).any() and 0.4 < chance.mean() < 0.6
  assert (ChecksStage().scorers(shop, seed=1)["random"](users) != chance).all()


def test_chunks_of_items_change_nothing(monkeypatch):
  taken = checks.rows_of(random_shop(3))
  whole = checks.similarities(taken, 5)
  monkeypatch.setattr(checks, "_CHUNK", 7)
  np.testing.assert_array_equal(checks.similarities(taken, 5).toarray(), whole.toarray())


def test_a_finished_stage(market_run, capsys):
  done = run.load(market_run).stages["checks"]
  assert done.learned.keys() == {"popularity", "random", "item_knn"}
  for check, figures in done.learned.items():
    assert (market_run / "checks" / f"{check}.npz").is_file()
    assert {"user", "recall@5", "ndcg@20", "sampled_hr@5"} <= figures.keys()
    np.testing.assert_array_equal(figures["user"], np.arange(720))
    np.testing.assert_allclose(done.figures[f"{check}_recall@5"], figures["recall@5"].mean())
  again = done.task.figures(done.task.open(market_run / "checks"))
  assert again == done.figures
  summary.print_figures(market_run, {"checks": again})
  out = capsys.readouterr().out
  assert "item-kNN: recall; k = 5, 20" in out and "popularity: NDCG among" in out


def test_what_is_damaged_is_said(market_run, tmp_path):
  with pytest.raises(Damaged, match=r"popularity\.npz can't be read .*; run fit again"):
    run.load(market_run).stages["checks"].task.open(tmp_path)


def test_it_stops_when_asked(market_run, tmp_path):
  work = run.load(market_run).stages["checks"].task
  with pytest.raises(Preempted, match="between two"):
    work.run(tmp_path, lambda: True)
  assert not list(tmp_path.iterdir())


def test_grocery(shared_data):
  """Popularity by ReChorus's protocol, whose table says HR@5 0.2065 and NDCG@5 0.1301."""
  shop = Table(path=str(shared_data / "amazon_grocery")).open().target
  examples, known, stage = reported(shop.examples()), judging.known(shop), ChecksStage()
  scorers = stage.scorers(shop, seed=0)
  per_user = jax.jit(Judge(ks=(5,), negatives=99).per_user, static_argnums=(3, 4))
  of_batch = lambda x: per_user(scorers["popularity"](x["user"]), x, known, shop.num_users, 0)
  found = judging.of_all_users(examples, 256, of_batch)
  # The bands of its authors' and others' runs; over draws of the 99 there are deviations of 0.0016
  # and 0.0008.
  assert 0.201 < found["sampled_hr@5"].mean() < 0.207
  assert 0.128 < found["sampled_ndcg@5"].mean() < 0.131
  users = examples.users[::100]
  for name, scores_of in scorers.items():
    scores = np.asarray(scores_of(users))
    figures = plainly(shop, users, scores, (5, 20))
    same(judged(shop, users, scores, (5, 20)), figures)
    assert name == "random" or figures["hr@20"].any()
