"""Checks of values, as far as they are known: what is being traced passes, for it has none yet."""

from numbers import Integral
from typing import Any

import jax
import numpy as np


def known(values: Any) -> np.ndarray | None:
  """Values as an array; None where they are traced, of other processes as well, or no array."""
  for leaf in jax.tree.leaves(values):
    if isinstance(leaf, jax.core.Tracer) or not getattr(leaf, "is_fully_addressable", True):
      return None
  try:
    return np.asarray(values)
  except (TypeError, ValueError):
    return None  # a ragged list, say: what is no array is for others to refuse


def integers_in_range(
  name: str, values: Any, size: int | None, *, least: int = 0, where: Any = True
) -> None:
  """Raises ValueError unless integers lie in [least, size); no size is no check.

  Args:
    name: how the line begins, a plural.
    values: integers, an array or a list of them; anything else passes.
    size: what is too large.
    least: what is not too small.
    where: bool, of the values' shape: those where it is False may be anything.
  """
  values, where = known(values), known(where)
  if not size or values is None or where is None or not np.issubdtype(values.dtype, np.integer):
    return
  values = values[np.broadcast_to(where, values.shape)]
  if values.size and (values.min() < least or values.max() >= size):
    raise ValueError(
      f"{name} run from {values.min()} to {values.max()}; they must be in [{least}, {size})"
    )


def whole_number(name: str, value: Any, *, least: int) -> None:
  """Raises ValueError unless the value is an integer, Python's or NumPy's, and large enough."""
  if not isinstance(value, Integral) or isinstance(value, bool):
    raise ValueError(f"{name} is {value!r}; it must be a whole number")
  if value < least:
    raise ValueError(f"{name} is {value}; it must be at least {least}")


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
  """Raises ValueError unless the value is one of those allowed."""
  if value not in allowed:
    known = ", ".join(map(repr, allowed))
    raise ValueError(f"{name} is {value!r}; it must be one of {known}")


def windows_fit(
  name: str,
  size: tuple[int, ...],
  windows: tuple[int, ...],
  padding: tuple[tuple[int, int], ...],
) -> None:
  """Raises ValueError where nothing would be left of a clip of this size, (T, H, W)."""
  if any(n + sum(ends) < k for n, k, ends in zip(size, windows, padding, strict=True)):
    shown = " x ".join(map(str, size))
    raise ValueError(
      f"{name}: nothing is left of {shown} (T, H, W) by windows of {list(windows)}: the clip is "
      "too short or too small"
    )
