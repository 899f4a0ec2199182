"""The globals that a pickle of weights may name, and what stands in for each: data, no more.

None of the real ones is ever imported or called. Whatever is not here is refused by its name, as a
program that the file asks to be run would be.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from train.weights import tensors
from train.weights.tensors import Array, Refused, Wrong


@dataclasses.dataclass(frozen=True)
class Global:
  """A class or function that a pickle names."""

  name: str


class Record(dict):
  """An instance of a class that only keeps values; they are its items."""


# What real checkpoints have beside the weights.
RECORDS = {
  "argparse.Namespace",
  "fvcore.common.config.CfgNode",
  "lightning.fabric.utilities.data.AttributeDict",
  "lightning_fabric.utilities.data.AttributeDict",
  "mmengine.logging.history_buffer.HistoryBuffer",
  "pathlib.Path",
  "pathlib.PosixPath",
  "pathlib.WindowsPath",
  "pathlib._local.PosixPath",
  "pathlib._local.WindowsPath",
  "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
  "pytorch_lightning.utilities.parsing.AttributeDict",
  "torch.device",
  "types.SimpleNamespace",
  "yacs.config.CfgNode",
}
# Classes and types that are named as values and never called.
_VALUES = {f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "object", "str")}
_VALUES |= {f"torch.{name}" for name in ("bfloat16", "float16", "float32", "float64", "int64")}
_VALUES |= {"numpy.ndarray", *tensors.STORAGES}


def _pairs(given: Any = (), *_: Any) -> dict[Any, Any]:
  """collections.OrderedDict and its like."""
  pairs = given.items() if isinstance(given, dict) else given
  return {key_of(key): value for key, value in pairs}


def key_of(key: Any) -> Hashable:
  """A dict's key: plain, or a tuple of such, as hashing what is nested deeper may not end well."""
  for part in key if isinstance(key, tuple) else (key,):
    if not isinstance(part, str | bytes | int | float | Global | None):
      raise Wrong(f"its pickle has a {type(part).__name__} for a dict's key")
  return key


def _encoded(text: Any, encoding: Any) -> bytes:
  """_codecs.encode, by which bytes are written where a protocol has none."""
  if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
    raise Wrong("bytes in it are not written as latin1")
  return text.encode("latin1")


def _got(owner: Any, *_: Any) -> Record:
  """builtins.getattr, which HistoryBuffer keeps its methods by; of anything else it is refused."""
  if not isinstance(owner, Global) or owner.name not in RECORDS:
    raise refusal("builtins.getattr")
  return Record()


def refusal(name: str) -> Refused:
  shown = ascii(name)[1:-1][:120]  # in one line, whatever the file calls it
  return Refused(
    f"its pickle calls for {shown}, which no weights need: refused, and nothing in it was run; "
    "give a file of the state dict alone"
  )


CALLS: Mapping[str, Callable[..., Any]] = {
  "_codecs.encode": _encoded,
  "builtins.bytearray": lambda data=b"", *_: data,
  "builtins.frozenset": lambda values=(): list(values),
  "builtins.getattr": _got,
  "builtins.set": lambda values=(): list(values),
  "collections.Counter": _pairs,
  "collections.OrderedDict": _pairs,
  "collections.defaultdict": lambda *_: {},
  "numpy.core.multiarray._reconstruct": lambda *_: Array(),
  "numpy.core.multiarray.scalar": tensors.make_scalar,
  "numpy.core.numeric._frombuffer": tensors.from_buffer,
  "numpy.dtype": tensors.make_dtype,
  "torch.Size": lambda sizes=(): tuple(sizes),
  "torch._utils._rebuild_parameter": lambda data, *_: data,
  "torch._utils._rebuild_tensor": tensors.rebuild_tensor,
  "torch._utils._rebuild_tensor_v2": tensors.rebuild_tensor,
  **{name: lambda *_: Record() for name in RECORDS},
}


def find(module: str, name: str) -> Global:
  """The global of a name.

  Raises:
    Wrong: it is not one that weights need.
  """
  old = {"__builtin__": "builtins", "numpy._core.": "numpy.core."}  # Python 2; NumPy 2
  full = f"{module}.{name}"
  for prefix, now in old.items():
    if full.startswith(prefix):
      full = now + full.removeprefix(prefix)
  if full not in CALLS and full not in _VALUES:
    raise refusal(full)
  return Global(full)


def call(function: Any, args: Any) -> Any:
  """What a call in a pickle stands for."""
  if not isinstance(function, Global) or not isinstance(args, tuple):
    raise Wrong("its pickle is damaged: it calls what is no function")
  if function.name not in CALLS:
    raise refusal(function.name)
  return CALLS[function.name](*args)
