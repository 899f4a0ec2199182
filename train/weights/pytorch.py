"""The two formats of torch.save: a zip archive since 1.6, a row of pickles before.

Zip: NAME/data.pkl is the object, whose storages are NAME/data/KEY, their byte order
NAME/byteorder. The older one: the pickles of a magic number, a protocol version, facts of the
system, the object and a list of its storages' keys; then each storage, its length first.
"""

import io
import os
import struct
import zipfile
from typing import Any, BinaryIO

from train.weights import pickles
from train.weights.known import Global
from train.weights.tensors import STORAGES, Storage, Wrong

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class _Storages:
  """The storages that a pickle refers to, by key and type."""

  def __init__(self, order: str):
    self.order, self.found = order, dict[tuple[str, str], Storage]()

  def __call__(self, persistent_id: Any) -> Storage:
    """A reference: ("storage", type, key, device, elements), and in the older format a view."""
    kind, cls, key, _, count, *view = persistent_id
    if kind != "storage" or not isinstance(cls, Global) or cls.name not in STORAGES:
      raise Wrong(f"its pickle refers to {_shown(kind)}; it must be a storage of tensors")
    if not isinstance(key, str) or type(count) is not int or count < 0 or any(view):
      raise Wrong("its pickle is damaged: it refers to a storage that can't be")
    made = Storage(STORAGES[cls.name], count, lambda: self.bytes_of(key, count), self.order)
    return self.found.setdefault((key, cls.name), made)

  def bytes_of(self, key: str, count: int) -> bytes:
    raise NotImplementedError


class _Members(_Storages):
  """Storages that are members of an archive."""

  def __init__(self, archive: zipfile.ZipFile, root: str, order: str):
    super().__init__(order)
    self._archive, self._root = archive, root

  def bytes_of(self, key: str, count: int) -> bytes:
    return member(self._archive, f"{self._root}data/{key}")


def member(archive: zipfile.ZipFile, name: str) -> bytes:
  """The bytes of a member, which torch.save never compresses: there are no more than in the file.

  Raises:
    Wrong: there is no such member, or it is damaged or compressed.
  """
  try:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
      raise Wrong(f"its member {name} is compressed, which PyTorch's never are")
    return archive.read(name)
  except KeyError:
    raise Wrong(f"it is damaged: its member {name} is missing") from None


def load_zip(archive: zipfile.ZipFile, pickle: str) -> Any:
  """The object in an archive whose pickle is the member of this name."""
  root = pickle.removesuffix("data.pkl")
  order = b"little"
  if f"{root}byteorder" in archive.namelist():
    order = member(archive, f"{root}byteorder")
  if order not in (b"little", b"big"):
    raise Wrong(f"its byte order is {order[:20]!r}; it must be little or big")
  storages = _Members(archive, root, "<" if order == b"little" else ">")
  return pickles.load(io.BytesIO(member(archive, pickle)), storages)


class _Row(_Storages):
  """Storages that come one after the other behind the pickles."""

  def __init__(self, file: BinaryIO, order: str):
    super().__init__(order)
    self._file, self._at = file, dict[str, tuple[int, int]]()

  def find(self, keys: Any) -> None:
    """Notes where each storage begins; the file stands before the first."""
    kinds = {key: storage.kind for (key, _), storage in self.found.items()}
    end = os.fstat(self._file.fileno()).st_size
    for key in keys if isinstance(keys, list) else ():
      if key not in kinds:
        raise Wrong(f"it is damaged: it has a storage {_shown(key)} that no tensor is of")
      length = self._file.read(8)
      if len(length) < 8:
        raise Wrong("it is cut short: storages are missing at its end")
      count = struct.unpack(f"{self.order}q", length)[0]
      start, size = self._file.tell(), count * _itemsize(kinds[key])
      if count < 0 or start + size > end:
        raise Wrong(f"it is cut short: a storage of {count:,} elements does not end in it")
      self._at[key] = start, size
      self._file.seek(start + size)
    if missing := kinds.keys() - self._at.keys():
      raise Wrong(f"it is cut short: {len(missing)} storages are missing at its end")

  def bytes_of(self, key: str, count: int) -> bytes:
    start, size = self._at[key]
    self._file.seek(start)
    return self._file.read(size)


def _shown(value: Any) -> str:
  """What an error says of a value; of what may be nested without end its type alone."""
  return ascii(value)[:40] if isinstance(value, str | int) else f"a {type(value).__name__}"


def _itemsize(kind: str) -> int:
  return 2 if kind == "bfloat16" else int(kind[1:])


def load_row(file: BinaryIO) -> Any:
  """The object in a file of the older format; the file stands behind its magic number."""
  version, system = pickles.load(file), pickles.load(file)
  if version != _PROTOCOL or not isinstance(system, dict):
    raise Wrong(f"it is in PyTorch's older format, of version {_shown(version)}; not {_PROTOCOL}")
  storages = _Row(file, "<" if system.get("little_endian", True) else ">")
  loaded = pickles.load(file, storages)
  storages.find(pickles.load(file))
  return loaded
