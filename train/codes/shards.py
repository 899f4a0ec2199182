"""Codes of a whole data set as ArrayRecord shards: written once, resumable, read by index.

    CODES/codes.json                       what is in them, and whose codes they are
    CODES/00003-of-00010.array_record      examples 3 * shard_size .. in the data set's order

A record holds one example: its index (i64), its label (i32), then the codes of every level, top
first, in raster order (u16, or u32 where K is larger than 2^16), all little-endian. A shard appears
by a rename once it is whole. So a run that was killed goes on after its last whole shard, several
processes write shards of their own, and no example is lost or doubled.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from train.data.examples import Examples
from train.errors import Damaged, Failed
from train.files import whole, write_json

_CACHE_BYTES = 2**30
_CHUNK = 4096  # examples read at once while the cache is filled


@dataclasses.dataclass(frozen=True)
class Description:
  """What a folder of codes holds; two that differ in anything are different codes."""

  source: str  # which tokenizer made them of which data
  examples: int
  shard_size: int  # examples a shard; the last may have fewer
  shapes: tuple[tuple[int, ...], ...]  # of an example's codes at every level, top first
  num_codes: tuple[int, ...]  # K of every level
  class_names: tuple[str, ...]  # empty where there are no labels

  @property
  def record(self) -> np.dtype:
    """One example's fields, as they lie in a record."""
    codes = [
      (f"level_{l}", "<u2" if k <= 2**16 else "<u4", shape)
      for l, (shape, k) in enumerate(zip(self.shapes, self.num_codes, strict=True))
    ]
    return np.dtype([("index", "<i8"), ("label", "<i4"), *codes])

  @property
  def num_shards(self) -> int:
    return math.ceil(self.examples / self.shard_size)

  def shard(self, folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{number:05d}-of-{self.num_shards:05d}.array_record"

  def indices(self, number: int) -> range:
    """Of the examples in a shard."""
    first = number * self.shard_size
    return range(first, min(first + self.shard_size, self.examples))


def begin(folder: pathlib.Path, description: Description) -> None:
  """Makes a folder ready for `write`: shards of another description, or damaged, are removed.

  To be called by one process before any of them writes.

  Raises:
    BadInput: a file can't be written.
  """
  header = folder / "codes.json"
  stale = set(folder.glob("*.array_record"))
  if _read(header) == description:
    numbers = range(description.num_shards)
    stale -= {description.shard(folder, i) for i in numbers if _is_whole(folder, description, i)}
  for path in (*stale, *folder.glob(".*.tmp")):
    path.unlink(missing_ok=True)
  write_json(header, dataclasses.asdict(description))


def write(
  folder: pathlib.Path,
  description: Description,
  encode: Callable[[range], tuple[Sequence[np.ndarray], np.ndarray]],
  *,
  between: Callable[[int], None] = lambda first: None,
  process: tuple[int, int] = (0, 1),
) -> None:
  """Writes the shards that are not there yet: of n processes, p writes shards p, p + n, ...

  Args:
    folder: that `begin` made ready.
    encode: indices of examples -> the codes of every level [N, *shape], and labels [N].
    between: called before every n shards with the number of the first, as often in each of the
      processes, whether shards are there already or not; may raise to stop.
    process: its number p, and how many there are, n.

  Raises:
    BadInput: a file can't be written.
  """
  for round_first in range(0, description.num_shards, process[1]):
    between(round_first)
    number = round_first + process[0]
    target = description.shard(folder, number)
    if number >= description.num_shards or target.exists():
      continue
    indices = description.indices(number)
    records = np.empty(len(indices), description.record)
    codes, labels = encode(indices)
    records["index"], records["label"] = indices, labels
    for l, values in enumerate(codes):
      records[f"level_{l}"] = values
    with whole(target) as temporary:
      _write_shard(temporary, records)


def _is_whole(folder: pathlib.Path, description: Description, number: int) -> bool:
  """Whether a shard holds the examples that it should, every one of them readable."""
  try:
    source = ArrayRecordDataSource([str(description.shard(folder, number))])
    data = b"".join(source.__getitems__([*range(len(source))]))
    records = np.frombuffer(data, description.record)
    return np.array_equal(records["index"], description.indices(number))
  except (RuntimeError, ValueError):
    return False


def _write_shard(path: pathlib.Path, records: np.ndarray) -> None:
  writer = ArrayRecordWriter(str(path), "group_size:1")
  try:
    for record in records:
      writer.write(record.tobytes())
    writer.close()
  except RuntimeError as error:  # of ArrayRecord, such as a full disk
    raise Failed(f"{path} can't be written ({' '.join(str(error).split())[:200]})") from error


def _read(header: pathlib.Path) -> Description | None:
  """The description in a folder; None where there is none that can be read."""
  try:
    values = json.loads(header.read_text())
    return Description(
      **values
      | {"shapes": tuple(map(tuple, values["shapes"]))}
      | {name: tuple(values[name]) for name in ("num_codes", "class_names")}
    )
  except (OSError, ValueError, TypeError, KeyError):
    return None


class Codes(Examples):
  """Examples {"codes": (int32[h, w], ...), "label": int32[]} in a folder, levels top first."""

  def __init__(self, folder: pathlib.Path):
    """Opens a folder that `write` finished.

    Raises:
      Damaged: a shard is missing or can't be read.
    """
    self.name = str(folder)
    description = _read(folder / "codes.json")
    if description is None:
      raise Damaged(f"{folder / 'codes.json'} is missing or damaged; run fit again")
    self.description = description
    shards = [description.shard(folder, i) for i in range(description.num_shards)]
    for path in shards:
      if not path.is_file():
        raise Damaged(f"{path} is missing; run fit again")
    try:
      self._source = ArrayRecordDataSource([str(path) for path in shards])
    except (RuntimeError, ValueError) as error:
      raise self._damaged(error) from error
    self._cache: np.ndarray | None = None
    self.num_threads = 8
    if description.examples * description.record.itemsize <= _CACHE_BYTES:
      chunks = range(0, len(self), _CHUNK)
      parts = [self._records(np.arange(i, min(i + _CHUNK, len(self)))) for i in chunks]
      self._cache, self.num_threads = np.concatenate(parts), 1

  def __len__(self) -> int:
    return self.description.examples

  def read(self, indices: np.ndarray, draws: np.ndarray | None = None) -> dict[str, Any]:
    """{"codes": one int32[N, *shape] a level, "label": int32[N]} of examples 0..len-1."""
    records = self._records(indices) if self._cache is None else self._cache[indices]
    levels = range(len(self.description.shapes))
    return {
      "codes": tuple(records[f"level_{l}"].astype(np.int32) for l in levels),
      "label": records["label"].astype(np.int32),
    }

  def _records(self, indices: Sequence[int]) -> np.ndarray:
    try:
      data = self._source.__getitems__(np.asarray(indices).tolist())
      records = np.frombuffer(b"".join(data), self.description.record)
    except (RuntimeError, ValueError, IndexError) as error:  # of ArrayRecord, or of other records
      raise self._damaged(error) from error
    if not np.array_equal(records["index"], np.asarray(indices)):
      raise self._damaged("examples are not where they should be")
    return records

  def _damaged(self, error: Any) -> Damaged:
    reason = " ".join(str(error).split())[:200] or "a shard can't be read"
    return Damaged(f"{self.name}: codes are damaged ({reason}); run fit again")
