"""Examples that are numbers: columns of one length, such as interactions, in memory.

np.savez("ratings.npz", user=users, item=items)         # users, items: i32[N]
Columns.read_npz("ratings.npz").read(indices, None)     # {"user": i32[B], "item": i32[B]}
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from train.data.examples import Examples
from train.errors import BadInput


class Columns(Examples):
  """Arrays [N, ...] by name, of one length; an example is a row of each."""

  def __init__(self, columns: Mapping[str, np.ndarray], *, name: str = "the columns"):
    """Raises BadInput unless there is a row, and as many of every column."""
    self.columns, self.name = {k: np.asarray(v) for k, v in columns.items()}, name
    lengths = {k: len(v) if v.ndim else 0 for k, v in self.columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
      found = ", ".join(f"{k} {n:,}" for k, n in lengths.items()) or "none"
      raise BadInput(f"{name}: columns must have one length, at least 1; found {found}")
    for column, values in self.columns.items():
      if values.dtype.kind not in "biuf":
        raise BadInput(f"{name}: column {column} holds {values.dtype}; it must hold numbers")

  @classmethod
  def read_npz(cls, path: str | pathlib.Path) -> "Columns":
    """The arrays of a file that `np.savez` wrote.

    Raises:
      BadInput: the file is missing or damaged, or its arrays are no columns.
    """
    try:
      with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        columns = dict(arrays)
    except Exception as error:  # there is hardly a kind that zips do not raise
      raise BadInput(f"{path}: can't be read as .npz ({error}); write it again") from None
    return cls(columns, name=str(path))

  def __len__(self) -> int:
    return len(next(iter(self.columns.values())))

  def read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, Any]:
    return {name: column[indices] for name, column in self.columns.items()}
