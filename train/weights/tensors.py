"""Tensors and arrays as pickles describe them, and what is checked before they become arrays.

Each is a description until `array` is called, so that an optimizer's moments beside the weights
cost nothing. Every size is compared with the bytes that are there: none can make much of little.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_BFLOAT16 = "bfloat16"  # which NumPy has not
STORAGES: Mapping[str, str] = {  # PyTorch's classes of typed memory, and NumPy's name of the type
  "torch.BFloat16Storage": _BFLOAT16,
  "torch.BoolStorage": "b1",
  "torch.ByteStorage": "u1",
  "torch.CharStorage": "i1",
  "torch.DoubleStorage": "f8",
  "torch.FloatStorage": "f4",
  "torch.HalfStorage": "f2",
  "torch.IntStorage": "i4",
  "torch.LongStorage": "i8",
  "torch.ShortStorage": "i2",
}


class Wrong(ValueError):
  """The file can't be used; str() says what is wrong with it, and `read` names the file."""


class Refused(Wrong):
  """A pickle names what is not known to be harmless."""


@dataclasses.dataclass
class Storage:
  """Flat memory of one type that tensors are parts of, read when one of them is."""

  kind: str  # as in STORAGES
  count: int  # elements
  load: Callable[[], bytes]  # the bytes: at least as many as the elements take
  order: str = "<"
  loaded: np.ndarray | None = None

  def array(self) -> np.ndarray:
    """[count]; bfloat16 as float32, which holds it exactly."""
    if self.loaded is None:
      stored = np.dtype("u2" if self.kind == _BFLOAT16 else self.kind).newbyteorder(self.order)
      data = self.load()
      if len(data) < self.count * stored.itemsize:
        raise Wrong(
          f"it is cut short: a storage of {self.count:,} elements has {len(data):,} bytes"
        )
      array = np.frombuffer(data, stored, self.count)
      if self.kind == _BFLOAT16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
      # Here and not for each of the tensors, of which there may be many.
      self.loaded = array.astype(array.dtype.newbyteorder("="), copy=False)
    return self.loaded


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A part of a storage, with a stride an axis."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]  # in elements

  def array(self) -> np.ndarray:
    flat = self.storage.array()
    _check_within(self, len(flat))
    strides = [stride * flat.itemsize for stride in self.strides]
    return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides)


def _check_within(tensor: Tensor, count: int) -> None:
  """Raises Wrong unless every element lies within the storage, and no more are asked for."""
  numbers = (tensor.offset, *tensor.shape, *tensor.strides)
  ok = len(tensor.shape) == len(tensor.strides) <= 32 and min(numbers) >= 0
  size = math.prod(tensor.shape) if ok else 0
  last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=False))
  if not ok or tensor.offset > count or size > count or (size and tensor.offset + last >= count):
    raise Wrong(
      f"a tensor of shape {list(tensor.shape)[:8]} and strides {list(tensor.strides)[:8]} at "
      f"{tensor.offset} does not fit its storage of {count:,} elements"
    )


def rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
  """torch._utils._rebuild_tensor, and _rebuild_tensor_v2 with what else that takes."""
  ok = isinstance(storage, Storage) and type(offset) is int
  if not ok or not _counts(shape) or not _counts(strides):
    raise Wrong("a tensor in it is not made of a storage and whole numbers, an axis each")
  return Tensor(storage, offset, tuple(shape), tuple(strides))


@dataclasses.dataclass
class DType:
  """A numpy.dtype, of which those of numbers can be used."""

  code: str  # such as "f4"
  order: str = "<"

  def set_state(self, state: Any) -> None:
    """What numpy.dtype.__setstate__ takes, of which the byte order counts."""
    order = _text(state[1])
    if order not in ("<", ">", "|", "="):
      raise Wrong(f"an array in it has the byte order {order!r}")
    self.order = "<" if order == "=" else order

  def dtype(self) -> np.dtype:
    """Raises Wrong where it is no type of numbers: one of objects can be anything."""
    if not re.fullmatch(r"[biufcSU]\d{1,4}|\?", self.code):
      raise Wrong(f"an array in it is of the type {self.code[:20]!r}, which is not one of numbers")
    return np.dtype(self.code).newbyteorder(self.order)


def make_dtype(code: Any, *_: Any) -> DType:
  """numpy.dtype."""
  return DType(_text(code))


@dataclasses.dataclass
class Array:
  """A numpy.ndarray, which a pickle makes first and fills later."""

  shape: tuple[int, ...] = ()
  dtype: DType | None = None
  data: Any = b""  # bytes, where it can be used
  fortran: bool = False

  def set_state(self, state: Any) -> None:
    """What numpy.ndarray.__setstate__ takes: (version, shape, dtype, fortran, data)."""
    *_, shape, dtype, fortran, data = state
    if not isinstance(dtype, DType) or not _counts(shape):
      raise Wrong("an array in it is not made of a shape and a type")
    data = data.encode("latin1") if isinstance(data, str) else data  # of Python 2
    self.shape, self.dtype, self.data, self.fortran = tuple(shape), dtype, data, bool(fortran)

  def array(self) -> np.ndarray:
    if self.dtype is None:
      raise Wrong("an array in it was never filled")
    stored = self.dtype.dtype()
    if min(self.shape, default=0) < 0 or len(self.shape) > 32:
      raise Wrong(f"an array in it has the shape {list(self.shape)[:8]}")
    if not isinstance(self.data, bytes):
      raise Wrong("an array in it is not made of bytes")
    if math.prod(self.shape) * stored.itemsize != len(self.data):
      raise Wrong(
        f"an array of shape {list(self.shape)} and type {stored} in it has {len(self.data):,} bytes"
      )
    return np.frombuffer(self.data, stored).reshape(self.shape, order="CF"[self.fortran])


def make_scalar(dtype: Any, data: Any) -> Array:
  """numpy.core.multiarray.scalar."""
  made = Array()
  made.set_state((1, (), dtype, False, data))
  return made


def from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
  """numpy.core.numeric._frombuffer, of pickles of protocol 5."""
  made = Array()
  made.set_state((1, shape, dtype, order == "F", bytes(data)))
  return made


def _counts(values: Any) -> bool:
  """Whether it can be a shape: as many whole numbers as NumPy has axes, or fewer."""
  short = isinstance(values, tuple | list) and len(values) <= 32
  return short and all(type(n) is int for n in values)


def _text(value: Any) -> str:
  """A string, or what was one in Python 2."""
  if isinstance(value, bytes):
    return value.decode("latin1")
  if not isinstance(value, str):
    raise Wrong("an array in it has a type that is no string")
  return value
