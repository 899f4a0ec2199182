"""Which of the things in a checkpoint is the model's state dict."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from train.weights.tensors import Array, Tensor, Wrong

# Under which key programs put it: PySlowFast and pytorchvideo; Lightning, mmaction2 and most
# others; various; Caffe2.
KEYS = ("model_state", "state_dict", "model_state_dict", "model", "net", "blobs")


def state_dict_of(loaded: Any) -> dict[str, np.ndarray]:
  """The tensors of the one state dict in what was loaded; what else is there is left aside.

  Raises:
    Wrong: there is none, or there are several.
  """
  if not isinstance(loaded, Mapping):
    raise Wrong(
      f"it holds a {_kind(loaded)}; it must be a state dict, tensors by name, or have one under "
      f"{_either(KEYS)}"
    )
  if loaded and all(map(_is_tensor, loaded.values())):
    return _arrays(loaded)
  named = [key for key in KEYS if _has_tensors(loaded.get(key))]
  if len(named) == 1:
    return _arrays(loaded[named[0]])
  found = ", ".join(ascii(key)[:60] for key in list(loaded)[:12]) + (", ..." * (len(loaded) > 12))
  if named:
    raise Wrong(
      f"it holds several state dicts, {_either(named)}; give a file of one (its keys: {found})"
    )
  raise Wrong(
    f"it holds no state dict: its keys are {found or 'none'}; it must map names to tensors, or "
    f"have such a mapping under {_either(KEYS)}"
  )


def _is_tensor(value: Any) -> bool:
  return isinstance(value, Tensor | Array | np.ndarray)


def _has_tensors(value: Any) -> bool:
  return isinstance(value, Mapping) and any(map(_is_tensor, value.values()))


def _arrays(tensors: Mapping[Any, Any]) -> dict[str, np.ndarray]:
  """Tensors as arrays; raises Wrong where a name or a value can't be one of a state dict."""
  arrays = {}
  for key, value in tensors.items():
    if not isinstance(key, str) or not _is_tensor(value):
      raise Wrong(f"its state dict has {ascii(key)[:60]}, a {_kind(value)}, among its tensors")
    array = value if isinstance(value, np.ndarray) else value.array()
    if array.dtype.kind not in "biufc":
      raise Wrong(f"{ascii(key)[:60]} is of the type {array.dtype}, which is not one of numbers")
    arrays[key] = array.astype(array.dtype.newbyteorder("="), copy=False)
  return arrays


def _kind(value: Any) -> str:
  return "tensor" if _is_tensor(value) else type(value).__name__


def _either(keys: Any) -> str:
  return ", ".join(map(repr, keys))
