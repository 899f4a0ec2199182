"""Columns: what np.savez wrote is read, every row once an epoch, and bad files are one line."""

import numpy as np
import pytest

from train.data import Columns, eval_batches, train_batches
from train.errors import BadInput

COLUMNS = {
  "user": np.arange(23, dtype=np.int32),
  "rating": np.linspace(0, 5, 23, dtype=np.float32),
  "seen": np.arange(46).reshape(23, 2) % 3 == 0,
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_was_written_is_read(tmp_path, save):
  save(tmp_path / "ratings.npz", **COLUMNS)
  columns = Columns.read_npz(tmp_path / "ratings.npz")
  assert len(columns) == 23
  rows = np.array([22, 0, 22, 7])
  read = columns.read(rows, None)
  assert read.keys() == COLUMNS.keys()
  for name, values in COLUMNS.items():
    assert read[name].dtype == values.dtype
    np.testing.assert_array_equal(read[name], values[rows])


def test_an_epoch_visits_each_row_once_and_an_evaluation_all_in_order():
  columns = Columns(COLUMNS)
  users = np.concatenate([b["user"] for b in train_batches(columns, 0, 0, 23, 4)])
  epochs = users.reshape(4, 23)
  for epoch in epochs:
    assert sorted(epoch) == list(range(23))
  assert len({tuple(epoch) for epoch in epochs}) == 4
  batches = list(eval_batches(columns, 4))
  evaluated = np.concatenate([b["rating"][b["mask"]] for b in batches])
  np.testing.assert_array_equal(evaluated, COLUMNS["rating"])


def missing(path):
  path.unlink()


def empty(path):
  path.write_bytes(b"")


def text(path):
  path.write_text("user,item\n1,2\n")


def folder(path):
  path.unlink()
  path.mkdir()


def truncated(path):
  path.write_bytes(path.read_bytes()[:-40])


def corrupt(save):
  def damage(path):
    save(path, user=np.arange(2000) ** 2 % 1999)
    content = bytearray(path.read_bytes())
    content[400:500] = b"\xff" * 100
    path.write_bytes(content)

  return damage


def unknown_compression(path):
  entry = b"PK\1\2-\3-\0\0\0"  # of the zip's directory; then the method, 0: stored
  path.write_bytes(path.read_bytes().replace(entry + b"\0", entry + b"\x63"))


def one_array(path):
  with path.open("wb") as file:
    np.save(file, np.arange(3))


def columns(**arrays):
  return lambda path: np.savez(path, **arrays)


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (missing, r"can't be read as \.npz \(.*No such file"),
    (empty, r"can't be read as \.npz"),
    (text, r"can't be read as \.npz"),
    (folder, r"can't be read as \.npz"),
    (truncated, r"can't be read as \.npz"),
    (corrupt(np.savez), r"can't be read as \.npz \(Bad CRC-32"),
    (corrupt(np.savez_compressed), r"can't be read as \.npz \(Error -3"),
    (unknown_compression, r"can't be read as \.npz \(That compression"),
    (one_array, r"can't be read as \.npz"),
    (columns(user=np.arange(3), item=np.arange(4)), "one length, at least 1; found user 3, item 4"),
    (columns(user=np.zeros(0)), "one length, at least 1; found user 0"),
    (columns(user=np.int32(3)), "one length, at least 1; found user 0"),
    (columns(), "one length, at least 1; found none"),
    (columns(user=np.array([{}, None])), r"can't be read as \.npz"),
    (columns(user=np.array(["ant", "bee"])), "column user holds <U3; it must hold numbers"),
  ],
)
def test_a_bad_file_is_one_line(tmp_path, damage, message):
  path = tmp_path / "ratings.npz"
  np.savez(path, **COLUMNS)
  damage(path)
  with pytest.raises(BadInput, match=message) as raised:
    Columns.read_npz(path)
  assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)
