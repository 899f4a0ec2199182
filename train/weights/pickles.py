"""An interpreter of pickles that can't run anything.

Python's own unpickler imports and calls what a file names. This one reads the same opcodes (by
pickletools) into lists, dicts and tuples; what a file names or calls is looked up in `known.py`,
and instances are given their values only where those are plain records and arrays of ours.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from train.weights import known
from train.weights.known import Record
from train.weights.tensors import Array, DType, Wrong


def load(file: BinaryIO, persistent: Callable[[Any], Any] | None = None) -> Any:
  """The next pickle of a file as plain values; the file stands after it then.

  Args:
    persistent: what a persistent id stands for, where there may be any.

  Raises:
    Wrong: the pickle is damaged, or names what weights do not need.
  """
  machine = _Machine(persistent)
  try:
    for opcode, argument, position in pickletools.genops(file):
      machine.step(opcode.name, argument)
      machine.check(position)
    return machine.pop()
  except Wrong:
    raise
  # Bytes in place of opcodes raise whatever the values they happen to make do.
  except Exception as error:
    said = " ".join(str(error).split())[:120] or type(error).__name__
    raise Wrong(f"it is cut short or damaged: its pickle ends in {said!r}") from None


_MARK = object()
_PLAIN = {  # opcodes whose argument is the value itself
  *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
  *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
  *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_NEW: dict[str, Callable[[], Any]] = {
  "NONE": lambda: None,
  "NEWTRUE": lambda: True,
  "NEWFALSE": lambda: False,
  "EMPTY_LIST": list,
  "EMPTY_TUPLE": tuple,
  "EMPTY_DICT": dict,
  "EMPTY_SET": list,  # elements need no hash then
}


class _Machine:
  """A stack and a memo, as pickles need them."""

  def __init__(self, persistent: Callable[[Any], Any] | None):
    self._stack: list[Any] = []
    self._memo: dict[int, Any] = {}
    self._persistent = persistent
    self._made = 0  # bytes and items that calls made

  def pop(self) -> Any:
    return self._stack.pop()

  def check(self, position: int) -> None:
    """Raises Wrong where calls, which may be of the same values again and again, make too much."""
    if self._made > 16 * (position or 0) + 2**16:
      raise Wrong("its pickle is damaged: it makes far more than it holds")

  def step(self, name: str, argument: Any) -> None:
    """One opcode."""
    if name in _PLAIN:
      self._stack.append(argument)
    elif name in _NEW:
      self._stack.append(_NEW[name]())
    elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
      self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
      self._stack.append(self._memo[argument])
    elif name not in ("PROTO", "FRAME", "STOP"):
      method = getattr(self, f"_{name.lower()}", None)
      if method is None:
        raise Wrong(f"its pickle has the opcode {name}, which no weights need")
      method() if argument is None else method(argument)

  def _mark(self) -> None:
    self._stack.append(_MARK)

  def _to_mark(self) -> list[Any]:
    """What was pushed since the last mark."""
    at = len(self._stack) - 1
    while self._stack[at] is not _MARK:
      at -= 1
    values = self._stack[at + 1 :]
    del self._stack[at:]
    return values

  def _pop(self) -> None:
    self._stack.pop()

  def _pop_mark(self) -> None:
    self._to_mark()

  def _dup(self) -> None:
    self._stack.append(self._stack[-1])

  def _list(self) -> None:
    self._stack.append(self._to_mark())

  def _tuple(self) -> None:
    self._stack.append(tuple(self._to_mark()))

  def _frozenset(self) -> None:
    self._stack.append(self._to_mark())

  def _tuple1(self) -> None:
    self._last(1)

  def _tuple2(self) -> None:
    self._last(2)

  def _tuple3(self) -> None:
    self._last(3)

  def _last(self, count: int) -> None:
    values = tuple(self._stack[-count:])
    del self._stack[-count:]
    self._stack.append(values)

  def _append(self) -> None:
    value = self.pop()
    _list_of(self._stack[-1]).append(value)

  def _appends(self) -> None:
    values = self._to_mark()
    _list_of(self._stack[-1]).extend(values)

  _additems = _appends

  def _dict(self) -> None:
    values = self._to_mark()
    self._stack.append({})
    self._set(values)

  def _setitem(self) -> None:
    value, key = self.pop(), self.pop()
    self._set([key, value])

  def _setitems(self) -> None:
    self._set(self._to_mark())

  def _set(self, values: list[Any]) -> None:
    """Keys and values in turn into the dict on top."""
    target = self._stack[-1]
    if not isinstance(target, dict):
      raise Wrong(f"its pickle is damaged: it sets items of a {type(target).__name__}")
    for key, value in zip(values[::2], values[1::2], strict=True):
      target[known.key_of(key)] = value

  def _global(self, argument: str) -> None:
    self._stack.append(known.find(*argument.split(" ", 1)))

  def _stack_global(self) -> None:
    name, module = self.pop(), self.pop()
    if not isinstance(name, str) or not isinstance(module, str):
      raise Wrong("its pickle is damaged: a global's name is no string")
    self._stack.append(known.find(module, name))

  def _reduce(self) -> None:
    args, function = self.pop(), self.pop()
    self._call(function, args)

  def _call(self, function: Any, args: Any) -> None:
    made = known.call(function, args)
    self._made += len(made) if isinstance(made, str | bytes | list | tuple | dict) else 0
    self._stack.append(made)

  _newobj = _reduce

  def _newobj_ex(self) -> None:
    self.pop()  # keyword arguments, which nothing here takes
    self._reduce()

  def _inst(self, argument: str) -> None:
    found = known.find(*argument.split(" ", 1))
    self._call(found, tuple(self._to_mark()))

  def _obj(self) -> None:
    function, *args = self._to_mark()
    self._call(function, tuple(args))

  def _build(self) -> None:
    """An instance's values, for our own instances; those of any other are left aside."""
    state, target = self.pop(), self._stack[-1]
    if isinstance(target, Array | DType):
      target.set_state(state)
      self._made += len(state[-1]) if isinstance(state[-1], str) else 0  # encoded anew
    elif isinstance(target, Record) and isinstance(state, dict):
      target.update(state)

  def _binpersid(self) -> None:
    self._persid(self.pop())

  def _persid(self, argument: Any) -> None:
    if self._persistent is None:
      raise Wrong("its pickle refers to what is not in it, by a persistent id")
    self._stack.append(self._persistent(argument))


def _list_of(target: Any) -> list[Any]:
  if not isinstance(target, list):
    raise Wrong(f"its pickle is damaged: it appends to a {type(target).__name__}")
  return target
