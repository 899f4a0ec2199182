"""`compare`: arms of runs, their means and differences, and one line for what can't be compared."""

import json
import shutil

import numpy as np
import pytest

from train.ratings import comparing
from train.report import write_npz


def changed(folder, to, name="encoded", seed=0, more=0.0, users=slice(None), **fields):
  """A run that says it is another one, whose figures are so much larger."""
  shutil.copytree(folder, to, ignore=shutil.ignore_patterns("checkpoints"))
  config = json.loads((to / "config.json").read_text())
  config["config"] |= {"name": name, "seed": seed}
  config["config"]["stages"]["factors"] |= fields
  (to / "config.json").write_text(json.dumps(config))
  with np.load(to / "factors" / "users.npz") as arrays:
    figures = {key: arrays[key][users] for key in arrays}
  noise = np.random.default_rng(seed).normal(size=len(figures["user"])) * 0.01
  plus = {key: x + np.float32(more + noise) for key, x in figures.items() if key != "user"}
  write_npz(to / "factors" / "users.npz", **figures | plus)
  return to


@pytest.fixture
def runs(market_run, tmp_path):
  """Two seeds of two arms, of which the second is better by 0.05, and one seed of a third."""
  make = lambda name, **k: changed(market_run, tmp_path / f"{name}{k['seed']}", name=name, **k)
  return [
    *(make("first", seed=0), make("first", seed=1)),
    *(make("second", seed=1, more=0.05), make("second", seed=0, more=0.05)),
    make("third", seed=4, more=0.1),
  ]


def test_arms(runs, here):
  first, second, third = comparing.compared([*map(comparing.read, map(str, runs))], ("recall@20",))
  assert [(x.arm, x.seeds) for x in (first, second, third)] == [
    *(("first", 2), ("second", 2), ("third", 1))
  ]
  with (
    np.load(runs[0] / "factors" / "users.npz") as a,
    np.load(runs[1] / "factors" / "users.npz") as b,
  ):
    mean = (a["recall@20"].mean() + b["recall@20"].mean()) / 2
  ((value, difference),) = first.values
  np.testing.assert_allclose(value, mean, rtol=1e-5)
  assert difference is None
  ((value, difference),) = second.values
  np.testing.assert_allclose(value, mean + 0.05, rtol=1e-5)
  # The same users and the same seeds: the noise is the same, too.
  np.testing.assert_allclose(difference, 0.05, rtol=1e-4)
  ((_, difference),) = third.values
  assert difference.low < difference.mean < difference.high
  np.testing.assert_allclose(difference.mean, 0.1, atol=0.005)


def test_what_is_printed(runs, here):
  status, out, err = here("compare", *runs, "--figures", "recall@20", "sampled_hr@5")
  assert status == 0 and not err
  assert "differences to first" in out and "sampled_hr@5" in out and "+0.0500" in out
  status, out, err = here("compare", *runs, "--figures", "ndcg@20", "--markdown")
  assert status == 0 and not err
  lines = out.splitlines()
  assert lines[0] == "| arm | seeds | figure | mean | difference | 95 % interval |"
  assert len(lines) == 5 and all(line.count("|") == 7 for line in lines)
  assert lines[3].startswith("| second | 2 | ndcg@20 | ") and "| +0.0500 | [+0.0500, " in lines[3]
  status, out, _ = here("compare", runs[0], runs[1], "--markdown")
  assert status == 0 and out.splitlines()[0] == "| arm | seeds | figure | mean |"
  assert [line.split(" | ")[2] for line in out.splitlines()[2:]] == ["recall@20", "ndcg@20"]


def test_checks_of_a_run(market_run, here):
  names = [market_run, *(f"{market_run}:{check}" for check in ("item_knn", "popularity"))]
  status, out, err = here("compare", *names, "--markdown", "--figures", "recall@20")
  assert status == 0 and not err
  arms = [line.split(" | ")[0] for line in out.splitlines()[2:]]
  assert arms == ["| encoded", "| item_knn", "| popularity"]


def test_what_can_not_be_compared(market_run, runs, here, tmp_path):
  fewer = changed(market_run, tmp_path / "fewer", name="fewer", users=slice(700))
  again = changed(market_run, tmp_path / "again", name="first", seed=1)
  other = changed(market_run, tmp_path / "other", name="first", seed=2, negatives=3)
  open_ = changed(market_run, tmp_path / "open", name="open")
  (open_ / "factors" / "done.json").unlink()
  for args, message in {
    (): "name at least one run's folder",
    (runs[0], "--figures"): "--figures is empty; name some",
    (runs[0], fewer): "are of other users or items (700 users who are judged and 720 items, 720",
    (runs[0], "--figures", "recal@20"): "has no figure 'recal@20'; it has ",
    (*runs[:2], again): f"{runs[1]} and {again} are both of 'first', seed 1",
    (runs[0], other): "both called 'first' but differ in more than the seed (factors.negatives: 1",
    (runs[0], open_): "the stage 'factors' is not finished; run fit again to go on",
    (tmp_path / "no",): "no holds no experiment",
    (f"{market_run}:knn",): "'knn' must be one of popularity, random, item_knn",
  }.items():
    status, out, err = here("compare", *args)
    assert status == 2 and not out and err.startswith("error: ") and err.count("\n") == 1, args
    assert message in err


def test_kinds_of_stages_that_there_are_not(layered_run, here):
  status, _, err = here("compare", f"{layered_run}:random")
  assert status == 2 and "'layered' has no stage of the kind ChecksStage" in err
