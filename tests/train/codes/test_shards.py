"""Codes in shards: what was written is read, once each, however the writing was interrupted."""

import dataclasses

import numpy as np
import pytest

from train.codes import shards
from train.codes.shards import Codes, Description
from train.data import batch, eval_batches
from train.errors import BadInput, Damaged, Failed

DESCRIPTION = Description(
  source="abc",
  examples=23,
  shard_size=5,
  shapes=((2, 2), (4, 4, 2)),
  num_codes=(9, 70_000),
  class_names=("a", "b", "c"),
)
RNG = np.random.default_rng(0)
CODES = [
  RNG.integers(0, k, (23, *shape)).astype(np.int32)
  for k, shape in zip(DESCRIPTION.num_codes, DESCRIPTION.shapes, strict=True)
]
LABELS = RNG.integers(0, 3, 23).astype(np.int32)


def encode(indices):
  return [c[list(indices)] for c in CODES], LABELS[list(indices)]


def write(folder, *, description=DESCRIPTION, encode=encode, **options):
  shards.begin(folder, description)
  shards.write(folder, description, encode, **options)


def assert_whole(folder):
  examples = Codes(folder)
  assert len(examples) == 23 and examples.description == DESCRIPTION
  read = examples.read(np.arange(23))
  for got, expected in zip(read["codes"], CODES, strict=True):
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, expected)
  np.testing.assert_array_equal(read["label"], LABELS)
  return examples


def test_what_was_written_is_read(tmp_path):
  write(tmp_path)
  examples = assert_whole(tmp_path)
  picked = examples.read(np.array([22, 0, 22, 7]))
  np.testing.assert_array_equal(picked["codes"][1], CODES[1][[22, 0, 22, 7]])
  assert len(list(tmp_path.glob("*.array_record"))) == 5


def test_without_a_cache(tmp_path, monkeypatch):
  monkeypatch.setattr(shards, "_CACHE_BYTES", 0)
  write(tmp_path)
  assert_whole(tmp_path)


def test_batches(tmp_path):
  write(tmp_path)
  examples = Codes(tmp_path)
  one = batch(examples, 3, 7, 8)
  assert [c.shape for c in one["codes"]] == [(8, 2, 2), (8, 4, 4, 2)]
  seen = [b["label"][b["mask"]] for b in eval_batches(examples, 8)]
  np.testing.assert_array_equal(np.concatenate(seen), LABELS)


def test_a_killed_writer_goes_on_after_its_last_whole_shard(tmp_path):
  encoded = []

  def dies(indices):
    encoded.append(indices.start)
    if len(encoded) == 3:
      raise KeyboardInterrupt
    return encode(indices)

  with pytest.raises(KeyboardInterrupt):
    write(tmp_path, encode=dies)
  with pytest.raises(BadInput, match=r"00002-of-00005\.array_record is missing"):
    Codes(tmp_path)
  (tmp_path / ".00002-of-00005.array_record.tmp").write_bytes(b"half a shard")
  encoded.clear()

  def counts(indices):
    encoded.append(indices.start)
    return encode(indices)

  write(tmp_path, encode=counts)
  assert encoded == [10, 15, 20]  # the first two shards stand
  assert_whole(tmp_path)
  assert not list(tmp_path.glob(".*"))


def test_several_processes_write_shards_of_their_own(tmp_path):
  shards.begin(tmp_path, DESCRIPTION)
  for process in (1, 0):
    shards.write(tmp_path, DESCRIPTION, encode, process=(process, 2))
  assert_whole(tmp_path)


def test_codes_of_another_tokenizer_are_removed(tmp_path):
  other = dataclasses.replace(DESCRIPTION, source="xyz")
  write(
    tmp_path, description=other, encode=lambda i: ([c * 0 for c in encode(i)[0]], LABELS[list(i)])
  )
  write(tmp_path)
  assert_whole(tmp_path)


def test_damage_is_named_and_mended(tmp_path):
  write(tmp_path)
  shard = tmp_path / "00001-of-00005.array_record"
  other = (tmp_path / "00002-of-00005.array_record").read_bytes()
  for damage, message in (
    (lambda: shard.write_bytes(shard.read_bytes()[:60]), r"damaged \(.+\); run fit again"),
    (lambda: shard.write_bytes(other), "examples are not where they should be"),
    (lambda: shard.unlink(), r"00001-of-00005\.array_record is missing; run fit again"),
    (lambda: (tmp_path / "codes.json").write_text("{"), r"codes\.json is missing or damaged"),
  ):
    damage()
    with pytest.raises(Damaged, match=message):
      Codes(tmp_path)
    write(tmp_path)
    assert_whole(tmp_path)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
  class Full:
    def __init__(self, path, options):
      pass

    def write(self, record):
      raise RuntimeError("write() failed: No space left on device")

  monkeypatch.setattr(shards, "ArrayRecordWriter", Full)
  with pytest.raises(Failed, match=r"00000-of-00005.* can't be written .*No space left"):
    write(tmp_path)
  assert not list(tmp_path.glob("*.array_record"))
