"""Reading other people's state dicts key by key, so that nothing is guessed and nothing is left."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np


class StateDict:
  """Tensors by key. Every one must be taken, with the shape that is expected of it.

      tensors = StateDict(state_dict, "VQ-VAE-2")
      kernel = tensors.take("dec.blocks.0.weight", (128, 128, 3, 3))
      tensors.done()      # raises where one was not taken, or one that was asked for is missing

  Values are NumPy arrays, or tensors that become ones (`detach().cpu()` where they have it). The
  prefix "module.", which data-parallel training leaves on every key, is dropped.

  Raises:
    ValueError: it is no mapping from strings, or holds what are no arrays, such as a checkpoint
      that has the state dict under one of its keys.
  """

  def __init__(self, state_dict: Mapping[str, Any], what: str):
    _check_tensors(state_dict, what)
    prefix = "module." if all(key.startswith("module.") for key in state_dict) else ""
    self._tensors = {key[len(prefix) :]: value for key, value in state_dict.items()}
    self._what, self._taken, self._missing = what, set(), []

  def __contains__(self, key: str) -> bool:
    return key in self._tensors

  def keys(self) -> list[str]:
    return list(self._tensors)

  def shapes(self) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in self._tensors.values()]

  def shape(self, key: str, rank: int) -> tuple[int, ...]:
    """The shape of a tensor that decides the model's size.

    Raises:
      ValueError: the tensor is missing or of another rank.
    """
    if key not in self._tensors:
      raise ValueError(f"{self._what}: tensor {key!r} is missing")
    shape = tuple(self._tensors[key].shape)
    if len(shape) != rank:
      raise ValueError(f"{self._what}: {key!r} has shape {list(shape)}; expected {rank} axes")
    return shape

  def take(self, key: str, shape: tuple[int, ...], *, integer: bool = False) -> np.ndarray:
    """The tensor as an array. One that is missing is noted (zeros come back) and told by `done`.

    Args:
      key: its name.
      shape: the one it must have.
      integer: whether it may be integers, as counters are; all else is floating point.

    Raises:
      ValueError: it has another shape, has another type, or holds NaN or infinity.
    """
    if key not in self._tensors:
      self._missing.append(key)
      return np.zeros(shape, np.float32)
    self._taken.add(key)
    array = to_numpy(self._tensors[key])
    if array.shape != tuple(shape):
      raise ValueError(
        f"{self._what}: {key!r} has shape {list(array.shape)}; expected {list(shape)}"
      )
    # As JAX has it, for which bfloat16 is floating, too.
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    if not floating and not (integer and np.issubdtype(array.dtype, np.integer)):
      expected = "an integer" if integer else "floating point"
      raise ValueError(f"{self._what}: {key!r} is {array.dtype}; expected {expected}")
    if floating and not np.isfinite(array.astype(np.result_type(array, np.float32))).all():
      raise ValueError(f"{self._what}: {key!r} holds NaN or infinity")
    return array

  def ignore(self, *, prefix: str = "", suffix: str = "") -> None:
    """Tensors whose keys begin and end so are known and not needed."""
    self._taken.update(k for k in self._tensors if k.startswith(prefix) and k.endswith(suffix))

  def expect(self, keys: list[str]) -> None:
    """Raises ValueError unless these are all keys but the ignored: names first, shapes later."""
    self._missing += [key for key in keys if key not in self]
    self._taken.update(keys)
    self.done()

  def done(self) -> None:
    """Raises ValueError that names every tensor that was missing or not taken."""
    extra = [key for key in self._tensors if key not in self._taken]
    found = [
      f"{title}: {', '.join(keys[:8])}{f' and {len(keys) - 8} more' if len(keys) > 8 else ''}"
      for title, keys in (("missing", self._missing), ("unexpected", extra))
      if keys
    ]
    if found:
      raise ValueError(f"{self._what}: the state dict does not fit; {'; '.join(found)}")


def _check_tensors(state_dict: Any, what: str) -> None:
  if not isinstance(state_dict, Mapping):
    raise ValueError(
      f"{what}: the state dict is a {type(state_dict).__name__}; it must map names to tensors"
    )
  strange = [key for key in state_dict if not isinstance(key, str)]
  if strange:
    raise ValueError(f"{what}: key {strange[0]!r} of the state dict must be a string")
  inner = [key for key, value in state_dict.items() if isinstance(value, Mapping)]
  others = [key for key, value in state_dict.items() if not hasattr(value, "shape")]
  if not others:
    return
  listed = ", ".join(map(repr, others[:8])) + (" and others" if len(others) > 8 else "")
  if len(others) == len(state_dict):
    found = f"holds no tensors but {listed}"
  else:
    found = f"holds {listed}, no tensors, among them"
  hint = f"; give state_dict[{inner[0]!r}]" if inner else "; give the tensors alone"
  raise ValueError(f"{what}: the state dict {found}{hint}")


def to_numpy(value: Any) -> np.ndarray:
  """A tensor of any framework as an array; no framework is imported."""
  if hasattr(value, "detach"):
    value = value.detach().cpu()
    if str(value.dtype) == "torch.bfloat16":  # NumPy has none
      value = value.float()
  return np.asarray(value)


def conv_kernel(weight: np.ndarray) -> np.ndarray:
  """[out, in, h, w] -> [h, w, in, out]."""
  return weight.transpose(2, 3, 1, 0)


def conv_transpose_kernel(weight: np.ndarray) -> np.ndarray:
  """[in, out, h, w] of a transposed convolution -> [h, w, in, out] of `vqlab.nn.ConvTranspose`."""
  return weight.transpose(2, 3, 0, 1)[::-1, ::-1]
