"""Targets in {-1, 1}, and what may go wrong between them and the outputs they belong to."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.nn.checks import known


def from_labels01(labels: Any) -> jax.Array:
  """Labels in {0, 1} as targets in {-1, 1}: int32 of integers and bools, the dtype of floats.

  Args:
    labels: [...], integers, floats or bools.

  Raises:
    ValueError: a label is neither 0 nor 1, as far as it is known: while tracing it is not.
  """
  labels = array("from_labels01", "labels", labels)
  if not jnp.issubdtype(labels.dtype, jnp.floating):
    if not jnp.issubdtype(labels.dtype, jnp.integer) and labels.dtype != jnp.bool_:
      raise ValueError(f"from_labels01: labels are {labels.dtype}; they must be 0 or 1")
    labels = labels.astype(jnp.int32)
  _among("from_labels01: labels", labels, (0, 1))
  return 2 * labels - 1


def array(name: str, what: str, values: Any) -> jax.Array:
  """Values as an array; raises ValueError if they are no numbers."""
  try:
    if values is not None and not any(isinstance(x, str) for x in jax.tree.leaves(values)):
      return jnp.asarray(values)
  # TypeError of what is no number, ValueError of a ragged list, OverflowError of a large integer
  except (TypeError, ValueError, OverflowError):
    pass
  raise ValueError(f"{name}: {what} are {values!r}; they must be numbers")


def outputs(name: str, values: Any) -> jax.Array:
  """Outputs as floats, integers as the default float; raises ValueError if they are neither."""
  values = array(name, "outputs", values)
  if jnp.issubdtype(values.dtype, jnp.floating):
    return values
  if jnp.issubdtype(values.dtype, jnp.integer):
    return values.astype(jnp.zeros(()).dtype)
  raise ValueError(f"{name}: outputs are {values.dtype}; they must be real numbers")


def targets(name: str, values: Any, output: jax.Array, *, where: Any = True) -> jax.Array:
  """Targets in the outputs' dtype; raises ValueError where shapes or known values are wrong."""
  values = array(name, "targets", values)
  if values.ndim and values.shape != output.shape:
    raise ValueError(
      f"{name}: outputs {list(output.shape)} and targets {list(values.shape)} must have one shape"
    )
  if values.dtype == jnp.bool_:
    raise ValueError(f"{name}: targets are bool; from_labels01 makes them -1 and 1")
  if jnp.issubdtype(values.dtype, jnp.complexfloating):
    raise ValueError(f"{name}: targets are {values.dtype}; they must be -1 or 1")
  _among(f"{name}: targets", values, (-1, 1), where=where)
  return values.astype(output.dtype)


def mask(name: str, where: Any, shape: tuple[int, ...]) -> None:
  """Raises ValueError unless a mask is bool and of a shape."""
  if getattr(where, "dtype", None) != jnp.bool_ or where.shape != shape:
    found = f"{where.dtype}{list(where.shape)}" if hasattr(where, "dtype") else repr(where)
    raise ValueError(f"{name}: where must be bool{list(shape)}; found {found}")


def _among(name: str, values: jax.Array, allowed: tuple[int, int], *, where: Any = True) -> None:
  """Raises ValueError unless known values are one of two, wherever the mask is not False."""
  values, where = known(values), known(where)
  if values is None or where is None:
    return
  wrong = (values != allowed[0]) & (values != allowed[1]) & where
  if wrong.any():
    found = np.broadcast_to(values, wrong.shape)[wrong][0]
    hint = "; from_labels01 maps {0, 1} to them" if found == 0 and 0 not in allowed else ""
    raise ValueError(f"{name} must be {allowed[0]} or {allowed[1]}; found {found}{hint}")
