"""Sources of ratings: their files, repairs and splits, what is kept, and two shops at once."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from tests.train.ratings.conftest import found, refused, table, write
from train import config_file, fields
from train.cli import parse_overrides
from train.config import Experiment
from train.errors import BadInput
from train.ratings.sources import AmazonReviews, Inter, LightGCNText, Table, TwoShops

as_json = lambda value: json.loads(json.dumps(value))
ROWS = [f"u{k % 7},i{k * k % 11},{100 - k}" for k in range(60)]


def plainly(rows, user_core=1, item_core=1):
  """Rows (user, item, time, place) by user: the first of each item by time, then the core."""
  order = sorted(rows, key=lambda row: (row[2], row[3]))
  kept = list({row[:2]: row for row in reversed(order)}.values())
  count = lambda at, name: sum(row[at] == name for row in kept)
  while True:
    fewer = [r for r in kept if count(0, r[0]) >= user_core and count(1, r[1]) >= item_core]
    if len(fewer) == len(kept):
      return sorted(kept, key=lambda row: (row[0], row[2], row[3]))
    kept = fewer


@pytest.mark.parametrize("cores", [(1, 1), (4, 4), (3, 6)])
def test_repairs_are_those_written_plainly(tmp_path, capsys, cores):
  rng = np.random.default_rng(0)
  rows = [(int(rng.integers(30)), int(rng.integers(20)), int(rng.integers(9))) for _ in range(200)]
  path = table(tmp_path / "a.csv", *(f"{u},{i},{t}" for u, i, t in rows))
  expected = plainly([(*row, k) for k, row in enumerate(rows)], *cores)
  shop = Table(path=path, user_core=cores[0], item_core=cores[1], split="ratio").open().target
  by_user = {}
  for u, i, _, _ in expected:
    by_user.setdefault(str(u), []).append(str(i))
  ours = {}
  for u, i, _ in found(shop):
    ours.setdefault(u, []).append(i)
  assert ours == by_user and (np.diff(shop.user) >= 0).all()
  assert set(shop.user_ids) == set(by_user) and set(shop.item_ids) == {
    i for items in ours.values() for i in items
  }
  unique = len({row[:2] for row in rows})
  assert shop.counts == {
    "rows": 200,
    "below_min_rating": 0,
    "duplicates": 200 - unique,
    "outside_core": unique - len(expected),
    "users_not_trained": 0,
  }
  out = capsys.readouterr().out
  core = {(1, 1): "", (4, 4): "4-core: ", (3, 6): "core of 3 and 6: "}[cores]
  sizes = f"{len(by_user)} users, {len(shop.item_ids)} items, {len(expected)} interactions"
  assert out.count("\n") == 1
  assert out.startswith(
    f"a.csv: 200 rows, {200 - unique} duplicates dropped; {core}{sizes} (train "
  )


def test_ties_are_in_the_order_of_the_rows(tmp_path):
  path = table(tmp_path / "a.csv", "a,x,1", "a,y,1", "b,y,2", "a,z,1", "a,x,0.5", "b,x,2")
  shop = Table(path=path, split="leave_one_out").open().target
  assert found(shop) == [
    *(("a", "x", 0), ("a", "y", 0), ("a", "z", 1)),
    *(("b", "y", 0), ("b", "x", 1)),
  ]


def test_a_folder_of_splits(tmp_path):
  for kind, ending, header in (
    (Table, "csv", "user_id,item_id,time"),
    (Table, "tsv.gz", "user_id\titem_id\ttime"),
    (Inter, "inter", "user_id:token\titem_id:token\ttimestamp:float"),
  ):
    root = tmp_path / ending
    prefix, tab = ("food." if kind is Inter else ""), ("," if ending == "csv" else "\t")
    line = lambda *words: tab.join(words)  # noqa: B023
    parts = {
      "train": [("a", "x", "3"), ("a", "y", "4"), ("b", "x", "5")],
      "valid" if kind is Inter else "dev": [("a", "z", "1"), ("c", "x", "2")],
      "test": [("b", "z", "6"), ("a", "x", "0")],
    }
    for name, rows in parts.items():
      write(root / f"{prefix}{name}.{ending}", header, *(line(*row) for row in rows))
    write(root / "README.txt", "user_id")
    shop = kind(path=str(root)).open().target
    assert found(shop) == [
      *(("a", "x", 0), ("a", "y", 0), ("a", "z", 1)),
      *(("b", "x", 0), ("b", "z", 2), ("c", "x", 1)),
    ]
    assert shop.counts["duplicates"] == 1, "what is trained on is not held out"
    assert shop.counts["users_not_trained"] == 1 and shop.name == ending
    joined = kind(path=str(root), split="leave_one_out").open().target
    assert found(joined)[:3] == [("a", "x", 0), ("a", "z", 0), ("a", "y", 1)]
    (root / f"{prefix}{'valid' if kind is Inter else 'dev'}.{ending}").unlink()
    assert set(kind(path=str(root)).open().target.split) == {0, 1}, "test is what there is"


def test_given_splits_need_no_times(tmp_path):
  header = "user_id,item_id"
  for name, rows in (("train", ["a,y", "a,x"]), ("test", ["a,z"])):
    table(tmp_path / f"{name}.csv", *rows, header=header)
  source = Table(path=str(tmp_path), time_column="")
  assert found(source.open().target) == [("a", "y", 0), ("a", "x", 0), ("a", "z", 1)]
  refused(dataclasses.replace(source, split="ratio"), r"train\.csv: line 1: no column of times")


def test_files_that_are_not_there(tmp_path, datasets):
  refused(Table(), r"data\.path: no file or folder ''; Table reads \.csv, \.tsv, \.txt", datasets)
  refused(
    Inter(path=str(tmp_path / "no")), r"no file or folder '.*no'; Inter reads \.inter", datasets
  )
  refused(AmazonReviews(path="no"), r"AmazonReviews reads \.json, \.jsonl", datasets)
  refused(LightGCNText(path=str(tmp_path)), r"data\.path: no train\.txt in", datasets)
  write(tmp_path / "x" / "a.dat", "1")
  refused(
    Table(path=str(tmp_path / "x" / "a.dat")), r"a\.dat is no file that Table reads", datasets
  )
  refused(Table(path=str(tmp_path / "x")), r"x: 0 files .* \(none\); it should have one", datasets)
  for name in ("a.csv", "b.csv"):
    table(tmp_path / "x" / name, *ROWS)
  refused(Table(path=str(tmp_path / "x")), r"x: 2 files .* \(a\.csv, b\.csv\); it should", datasets)
  for name in ("train", "dev", "valid"):
    table(tmp_path / "y" / f"{name}.csv", *ROWS)
  refused(Table(path=str(tmp_path / "y")), r"dev\.csv and valid\.csv are of one split", datasets)


def test_fields_that_do_not_fit(tmp_path, datasets):
  path = table(tmp_path / "a.csv", *ROWS)
  refused(Table(path=path, split="given"), r"data\.split: 'given', but .* has no files", datasets)
  for fractions in ((0.1,), (0.5, 0.5), (0.1, 0.1, 0.1)):
    refused(
      Table(path=path, split="ratio", fractions=fractions), r"data\.fractions is \(0", datasets
    )
  refused(Table(path=path, time_column=""), "no column of times, which data.split needs", datasets)
  for name in ("train", "test"):
    table(tmp_path / "x" / f"{name}.csv", *ROWS)
  given = Table(path=str(tmp_path / "x"), item_core=2)
  refused(
    given, r"data\.user_core, data\.item_core: 1, 2, but the splits of .* are given", datasets
  )
  write(tmp_path / "y" / "train.txt", "0 1 2")
  write(tmp_path / "y" / "test.txt", "0 3")
  text = LightGCNText(path=str(tmp_path / "y"), split="leave_one_out")
  refused(text, r"train\.txt: no column of times, which data\.split needs", datasets)


def test_nothing_is_left_in_the_core(tmp_path, datasets):
  path = table(tmp_path / "a.csv", "a,x,1", "a,y,1", "b,x,1", "b,y,1", "c,x,1", "c,x,2")
  message = r"3-core leaves none of the 5 interactions of .*; the largest core that leaves any is 2"
  refused(Table(path=path, user_core=3, item_core=3), message, datasets)
  refused(Table(path=path, user_core=2, item_core=4), "core of 2 and 4 leaves none", datasets)
  assert len(Table(path=path, user_core=2, item_core=2).open().target.user) == 4


def test_it_is_read_once(tmp_path, datasets, monkeypatch, capsys):
  path = table(tmp_path / "a.csv", *ROWS)
  source, reads, read = Table(path=path), [], Table.read
  monkeypatch.setattr(Table, "read", lambda self, *args: reads.append(1) or read(self, *args))
  name = source.prepare()
  first, again = source.open(), source.open()
  assert len(reads) == 1 and first.source is first.target and first.target.same(again.target)
  assert capsys.readouterr().out.count("\n") == 1
  kept = [p.name for p in (datasets / "ratings" / name).iterdir()]
  assert sorted(kept) == ["files.json", "shop.npz"]
  assert first.target.name == "a" and source.about(first)["target"] == first.target.about()
  assert as_json(source.about(first)) == source.about(first)


def test_moved_data_are_the_same_and_others_are_not(tmp_path):
  source = Table(path=table(tmp_path / "a.csv", *ROWS))
  name = source.prepare()
  moved = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}_moved")
  os.utime(moved / "a.csv", (1, 1))
  assert Table(path=str(moved / "a.csv"), dir=str(tmp_path / "other")).prepare() == name
  assert source.differs(name, name) == ""
  others = [
    dataclasses.replace(source, **change).prepare()
    for change in ({"split": "ratio"}, {"user_core": 2}, {"split": "leave_one_out"})
  ]
  same = dataclasses.replace(source, split="leave_last_two_out")
  assert same.prepare() == name and len({name, *others}) == 4
  table(tmp_path / "b.csv", *ROWS)
  renamed = Table(path=str(tmp_path / "b.csv")).prepare()
  assert renamed != name and source.differs(name, renamed) == "", "they hold the same"
  table(tmp_path / "a.csv", *ROWS, "u1,new,1")
  changed = source.prepare()
  assert source.differs(name, changed) == f"{name} -> {changed}; files: 1 changed (a.csv)"


def test_where_it_cannot_be_kept(tmp_path):
  (tmp_path / "file").touch()
  path = table(tmp_path / "a.csv", *ROWS)
  refused(Table(path=path, dir=str(tmp_path / "file")), "shop.npz can't be written")


def test_what_is_interrupted_leaves_nothing(tmp_path, datasets, monkeypatch):
  source = Table(path=table(tmp_path / "a.csv", *ROWS))

  def savez(file, **arrays):
    file.write(b"half")
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(np, "savez", savez)
    refused(source, "can't be written: No space left")
  assert not [p for p in (datasets / "ratings").rglob("*") if p.is_file()]
  assert len(source.open().target.user) > 0


def test_two_shops(tmp_path):
  first = Table(path=table(tmp_path / "a.csv", *ROWS), split="leave_one_out")
  second = Table(path=table(tmp_path / "b.csv", *ROWS[:30]))
  both = TwoShops(source=first, target=second)
  name, shops = both.prepare(), both.open()
  assert name == f"{first.prepare()} and {second.prepare()}"
  assert shops.source.same(first.open().target) and shops.target.same(second.open().target)
  about = both.about(shops)
  assert about == {"source": shops.source.about(), "target": shops.target.about()}
  table(tmp_path / "b.csv", *ROWS[:31])
  assert both.differs(name, name) == ""
  assert both.differs(name, both.prepare()).startswith("target: table/")
  bad = dataclasses.replace(both, target=Inter(path="data.path"))
  for call in (bad.prepare, bad.open):
    with pytest.raises(BadInput, match=r"^data\.target\.path: no file or folder 'data\.path'"):
      call()
  bad = dataclasses.replace(both, source=dataclasses.replace(first, user_core=99))
  with pytest.raises(BadInput, match=r"^data\.source\.user_core, data\.source\.item_core: core of"):
    bad.open()


def test_two_shops_on_the_command_line(tmp_path):
  given = lambda *args: parse_overrides(Experiment(data=TwoShops()), list(args), [], prog="")[0]
  changed = given("--data.target.path", "X", "--data.target", "Inter", "--data.source.path", "Y")
  assert changed.data == TwoShops(source=Table(path="Y"), target=Inter(path="X"))
  changed = given("--data.target.split", "ratio", "--data.target.fractions", "0.2", "0.1")
  assert changed.data.target == Table(split="ratio", fractions=(0.2, 0.1))
  changed = given("--data", "AmazonReviews", "--data.min_rating", "4", "--data.user_core=5")
  assert changed.data == AmazonReviews(min_rating=4.0, user_core=5)
  one = Experiment(data=Table(path="Z", time_column="t"))
  changed = parse_overrides(one, ["--data", "Inter"], [], prog="")[0]
  assert changed.data == Inter(path="Z")
  for args, message in {
    ("--data.target", "Intre"): r"--data\.target is 'Intre'; .*did you mean Inter\?",
    ("--data.target", "TwoShops"): "must be one of AmazonReviews, Inter, Light",
    ("--data.target.user_core", "0"): r"data\.target\.user_core is 0; it must be at least 1",
    ("--data.target.split", "random"): "split",
  }.items():
    with pytest.raises(BadInput, match=message):
      given(*args)
  experiment = Experiment(data=TwoShops(target=LightGCNText(path="X")))
  assert config_file.restored(as_json(config_file.saved(experiment)), "") == experiment
  elsewhere = Experiment(data=TwoShops(target=LightGCNText(path="Y", dir="Z")))
  assert fields.changes(experiment, elsewhere) == []


def sizes(source):
  shop = source.open().target
  return len(shop.user), shop.num_users, shop.num_items


def test_amazon_pantry(shared_data, capsys):
  path = str(shared_data / "amazon_pantry")
  assert sizes(Inter(path=path)) == (108_891, 12_608, 4_926)
  source = Inter(path=f"{path}/Pantry.inter", user_core=5, item_core=5)
  assert sizes(source) == (106_377, 12_342, 4_530)
  assert (
    capsys.readouterr()
    .out.splitlines()[1]
    .startswith(
      "Pantry.inter: 109,007 rows, 116 duplicates dropped; 5-core: 12,342 users, 4,530 items, "
      "106,377 interactions (train 81,693, eval 12,342, test 12,342)"
    )
  )
  none = Inter(path=path, user_core=10, item_core=10)
  refused(none, "10-core leaves none of the 108,891 interactions of .* leaves any is 9")


def test_amazon_grocery(shared_data):
  path = str(shared_data / "amazon_grocery")
  given = Table(path=path).open().target
  assert sizes(Table(path=path)) == (151_254, 14_681, 8_713)
  assert np.bincount(given.split).tolist() == [121_892, 14_681, 14_681]
  joined = {"path": path, "split": "leave_last_two_out"}
  # The published split is the one made here.
  assert sorted(found(Table(**joined).open().target)) == sorted(found(given))
  assert sizes(Table(**joined, user_core=10, item_core=10)) == (37_348, 1_749, 549)
