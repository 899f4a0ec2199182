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
  labels = jnp.asarray(labels)
  _among("from_labels01: labels", labels, (0, 1))
  if not jnp.issubdtype(labels.dtype, jnp.floating):
    labels = labels.astype(jnp.int32)
  return 2 * labels - 1


def outputs(name: str, values: Any) -> jax.Array:
  """Outputs as floats, integers as the default float; raises ValueError if they are neither."""
  values = jnp.asarray(values)
  if jnp.issubdtype(values.dtype, jnp.integer):
    return values.astype(float)
  if not jnp.issubdtype(values.dtype, jnp.floating):
    raise ValueError(f"{name}: outputs are {values.dtype}; they must be real numbers")
  return values


def targets(
  name: str, values: Any, output: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
  """Targets in the outputs' dtype; raises ValueError where shapes or known values are wrong."""
  values = jnp.asarray(values)
  if values.ndim and values.shape != output.shape:
    raise ValueError(
      f"{name}: outputs {list(output.shape)} and targets {list(values.shape)} must have one shape"
    )
  if values.dtype == jnp.bool_:
    raise ValueError(f"{name}: targets are bool; from_labels01 makes them -1 and 1")
  _among(f"{name}: targets", values, (-1, 1), where=True if where is None else where)
  return values.astype(output.dtype)


def mask(name: str, where: jax.Array, shape: tuple[int, ...]) -> None:
  """Raises ValueError unless a mask is bool and of a shape."""
  if where.dtype != jnp.bool_ or where.shape != shape:
    found = f"{where.dtype}{list(where.shape)}"
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
