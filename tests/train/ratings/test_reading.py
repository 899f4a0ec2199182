"""The files of interactions: what is read of them, and what is wrong in a line."""

import gzip
import json
import math

import pytest

from tests.train.ratings.conftest import found, refused, table, write
from train.ratings.sources import AmazonReviews, Inter, LightGCNText, Table

ROWS = ["ann,tea,3", "bob,jam,1", "ann,jam,1", "bob,tea,5", "ann,rye,2", "cy,rye,9"]
READ = [
  *(("ann", "jam", 0), ("ann", "rye", 1), ("ann", "tea", 2)),
  *(("bob", "jam", 0), ("bob", "tea", 0), ("cy", "rye", 0)),
]
DATES = {1: "2015-06-23", 2: "2015-06-23 12:00:01", 3: "2015-06-23T13:00+00:30", 5: "2016-01-01"}
DATES |= {9: "1969-01-01"}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "A.TXT", "b.txt", "a.csv.gz", "a.tsv.gz"])
def test_tables(tmp_path, name):
  lines = ["user_id,item_id,time", *ROWS]
  if name.lower() in ("a.tsv", "a.txt", "a.tsv.gz"):
    lines = [line.replace(",", "\t") for line in lines]
  path = write(tmp_path / name, *lines)
  shop = Table(path=path).open().target
  assert found(shop) == READ and shop.name == name[0]
  assert shop.user_ids.tolist() == ["ann", "bob", "cy"], "as they appear"
  assert shop.item_ids.tolist() == ["tea", "jam", "rye"]


def test_columns_by_name_in_any_order_and_quoted(tmp_path):
  lines = ["when,note,what,who", *("3,x,tea,ann", '1,"a ""b"",\nc","tea, green",ann', "2,,rye,ann")]
  path = write(tmp_path / "a.csv", "\ufeff" + lines[0], *lines[1:], "", end="\r\n")
  columns = {"user_column": "who", "item_column": "what", "time_column": "when"}
  shop = Table(path=path, **columns).open().target
  assert found(shop) == [("ann", "tea, green", 0), ("ann", "rye", 1), ("ann", "tea", 2)]


def test_inter_files(tmp_path):
  rows = [row.split(",") for row in ROWS]
  lines = ["\t".join((u, '"' + i, DATES[int(t)], "4.5")) for u, i, t in rows]
  header = "user_id:token\titem_id:token\ttimestamp:float\trating:float"
  path = write(tmp_path / "a.inter", header, *lines)
  read = [(u, '"' + i, k) for u, i, k in READ]
  assert found(Inter(path=path).open().target) == read, "quotation marks are as all letters"
  write(tmp_path / "b.inter.gz", header, *("\t".join((*row, "3")) for row in rows))
  assert found(Inter(path=str(tmp_path / "b.inter.gz")).open().target) == READ


@pytest.mark.parametrize("generation", [2014, 2023])
@pytest.mark.parametrize("ending", ["json", "jsonl.gz"])
def test_reviews(tmp_path, generation, ending):
  keys = ("reviewerID", "asin", "unixReviewTime", "overall")
  if generation == 2023:
    keys = ("user_id", "parent_asin", "timestamp", "rating")
  rows = [(u, i, int(t), 2.0 if i == "rye" else 5) for u, i, t in (r.split(",") for r in ROWS)]
  lines = [json.dumps({"text": "é\n"} | dict(zip(keys, row, strict=True))) for row in rows]
  path = write(tmp_path / f"Food.{ending}", *lines, "")
  assert found(AmazonReviews(path=path).open().target) == READ
  shop = AmazonReviews(path=path, min_rating=3.0).open().target
  assert found(shop) == [(u, i, 0) for u, i, _ in READ if i != "rye"]
  assert shop.counts["below_min_rating"] == 2 and shop.user_ids.tolist() == ["ann", "bob"]


def test_lightgcn_text(tmp_path):
  write(tmp_path / "train.txt", "0 5 6 7 8", "1", "2 5 9  ", "", "0 11", "3 5", end="\r\n")
  write(tmp_path / "test.txt", "0 9", "1 5 6", "2")
  rows = {(u, i) for u, i in (("0", x) for x in ("5", "6", "7", "8", "11"))}
  rows |= {("2", "5"), ("2", "9"), ("3", "5")}
  shop = LightGCNText(path=str(tmp_path), eval_fraction=0.4).open().target
  splits = [{(u, i) for u, i, k in found(shop) if k == n} for n in range(3)]
  assert splits[2] == {("0", "9"), ("1", "5"), ("1", "6")} and splits[0] | splits[1] == rows
  assert sorted(u for u, _ in splits[1]) == ["0", "0", "2"] and not splits[0] & splits[1]
  assert shop.counts["users_not_trained"] == 1 and shop.examples()["test"].users.tolist() == [0]
  again = LightGCNText(path=str(tmp_path), eval_fraction=0.4, eval_seed=1).open().target
  assert found(again) != found(shop)
  whole = LightGCNText(path=str(tmp_path), eval_fraction=0.0).open().target
  assert {(u, i) for u, i, k in found(whole) if k == 0} == rows and 2 not in whole.split
  write(tmp_path / "train.txt", "0 5 6", "0 -7")
  refused(LightGCNText(path=str(tmp_path)), r"train\.txt: line 2: '-7'; it should be USER ITEM")
  write(tmp_path / "train.txt", "0 5 6.5")
  refused(LightGCNText(path=str(tmp_path)), r"train\.txt: line 1: '6\.5'; it should be USER ITEM")
  write(tmp_path / "train.txt")
  refused(LightGCNText(path=str(tmp_path)), r"train\.txt: line 1: empty; it should list")
  write(tmp_path / "train.txt", "0", "1")
  refused(LightGCNText(path=str(tmp_path)), "nothing is left to train on of 3 rows")
  write(tmp_path / "test.txt", "0")
  refused(LightGCNText(path=str(tmp_path)), "nothing is left to train on of 0 rows")
  (tmp_path / "test.txt").unlink()
  refused(LightGCNText(path=str(tmp_path)), r"data\.path: no test\.txt in ")


BAD_TABLES = {
  "": r"line 1: empty; it should be a header .* user_id, item_id, time",
  "user_id,item_id,time\n": "line 1: a header alone; interactions should follow",
  "user,item_id,time\na,b,1\n": r"line 1: no column 'user_id' among user, item_id, time; did you "
  r"mean user\?",
  "user_id,item_id\na,b\n": "line 1: no column 'time' among user_id, item_id",
  "user_id,item_id,time\na,b,1\na,b\n": r"line 3: 2 fields; there should be 3 \(user_id, item_",
  "user_id,item_id,time\na,b,1,2\n": "line 2: 4 fields; there should be 3",
  "user_id,item_id,time\n\n,b,1\n": "line 3: user_id is empty",
  "user_id,item_id,time\na,,1\n": "line 2: item_id is empty",
  "user_id,item_id,time\na,b,soon\n": "line 2: the time is 'soon'; it must be a number, or a date",
  "user_id,item_id,time\na,b,1\na,c,\n": "line 3: time is ''; it must be a finite number",
  "user_id,item_id,time\na,b,1\na,c,2015-06-23\n": "line 3: time is '2015-06-23'; it must be a fi",
  "user_id,item_id,time\na,b,2015-06-23\na,c,2015-13-01\n": "line 3: time is '2015-13-01'; it mus",
  "user_id,item_id,time\na,b,nan\n": "line 2: time is 'nan'; it must be a finite number",
  "user_id,item_id,time\na,b,1\na,c,-inf\n": "line 3: time is '-inf'; it must be a finite number",
  'user_id,item_id,time\n"a,b,1\na,c,2\n': "line 3: unexpected end of data; quotation marks",
  'user_id,item_id,time\n"a"a,b,1\n': "line 2: .*; quotation marks must be closed",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_bad_tables(tmp_path, datasets, text):
  path = tmp_path / "bad.csv"
  path.write_text(text)
  refused(Table(path=str(path)), rf"bad\.csv: {BAD_TABLES[text]}", datasets)


def test_bad_inter_files(tmp_path, datasets):
  header, path = "user_id:token\titem_id:token", tmp_path / "bad.inter"
  bad = {
    "user_id:token\titem:token\n1\t2\n": r"line 1: no column 'item_id' among .* mean item\?",
    f"{header}\n1\t2\n": "line 1: no column of times, which data.split needs",
    f"{header}\ttimestamp:float\n1 2 3\n": "line 2: 1 fields; there should be 3",
    f"{header}\ttimestamp:float\n1\t2\tx\n": "line 2: the time is 'x'; it must be",
  }
  for text, message in bad.items():
    path.write_text(text)
    refused(Inter(path=str(path)), rf"bad\.inter: {message}", datasets)


def test_bad_ratings(tmp_path, datasets):
  good, header = ["a,b,1,5", "a,c,2,3"], "user_id,item_id,time,stars"
  path = table(tmp_path / "a.csv", *good, "b,c,3,nan", header=header)
  fields = {"path": path, "min_rating": 3.0}
  refused(
    Table(**fields), r"a\.csv: line 1: no column of ratings, which data\.min_rating", datasets
  )
  refused(Table(**fields, rating_column="star"), "no column 'star' among .*mean stars", datasets)
  refused(
    Table(**fields, rating_column="stars"), "line 4: stars is 'nan'; it must be a f", datasets
  )
  assert len(Table(path=path, rating_column="stars").open().target.user) == 3, "they are not needed"
  table(tmp_path / "a.csv", *good, "b,c,3,inf", header=header)
  refused(Table(**fields, rating_column="stars"), "line 4: stars is 'inf'")
  table(tmp_path / "a.csv", *good, "b,c,3,", header=header)
  refused(Table(**fields, rating_column="stars"), "line 4: stars is ''")
  table(tmp_path / "a.csv", *good, header=header)
  too_much = Table(**(fields | {"min_rating": 6.0}), rating_column="stars")
  refused(too_much, "nothing is left to train on of 2 rows, 2 of them below data.min_rating")


def test_bad_reviews(tmp_path, datasets):
  good = {"reviewerID": "a", "asin": "b", "unixReviewTime": 1, "overall": 5.0}
  source = AmazonReviews(path=str(tmp_path / "a.json"), min_rating=1.0)
  bad = {
    "{'reviewerID': 'a'}": r"line 2: not JSON \(.*\); it should be a review",
    json.dumps(good)[:-3]: "line 2: not JSON",
    "[1, 2]": r"line 2: '\[1, 2\]'; it should be a review",
    json.dumps({"asin": "b"}): "line 2: no reviewerID or user_id among asin",
    json.dumps(good | {"asin": None}): "line 2: asin is None; it must be text",
    json.dumps(good | {"unixReviewTime": "1"}): "line 2: unixReviewTime is '1'; it must be a fin",
    json.dumps(good | {"unixReviewTime": math.inf}): "line 2: unixReviewTime is inf; it must be",
    json.dumps(good | {"overall": math.nan}): "line 2: overall is nan; it must be a finite",
    json.dumps(good | {"overall": True}): "line 2: overall is True",
  }
  for line, message in bad.items():
    write(tmp_path / "a.json", json.dumps(good), line)
    refused(source, rf"a\.json: {message}", datasets)
  write(tmp_path / "a.json")
  refused(source, r"a\.json: line 1: empty; it should be reviews", datasets)


def test_bytes_that_are_no_text_or_damaged(tmp_path, datasets):
  good = "".join(
    ["user_id,item_id,time\n", *(f"u{k % 99},i{k},{k}\n" for k in range(9000))]
  ).encode()
  path = tmp_path / "a.csv"
  path.write_bytes(good + "é,b,1\n".encode("latin-1"))
  refused(Table(path=str(path)), r"a\.csv: line 9002: not UTF-8; convert it", datasets)
  packed = gzip.compress(good, mtime=0)
  path = tmp_path / "a.csv.gz"
  for damaged in (packed[:-2000], b"x" + packed[1:], packed[:9000] + b"junk" + packed[9004:]):
    path.write_bytes(damaged)
    refused(Table(path=str(path)), r"a\.csv\.gz: (damaged \(.*\); copy it anew|line )", datasets)
  path.write_bytes(gzip.compress("é,b,1\n".encode("latin-1")))
  refused(Table(path=str(path)), r"a\.csv\.gz: line 1: not UTF-8", datasets)
