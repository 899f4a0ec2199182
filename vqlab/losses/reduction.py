"""Values to one number: sums and means, weighted or not, of what is not masked."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.losses import targets as checks
from vqlab.nn.checks import known
from vqlab.nn.dtypes import at_least_float32

Mode = Literal["none", "sum", "mean"]


def reduce(
  values: jax.Array,
  mode: Mode = "mean",
  *,
  weights: jax.Array | None = None,
  where: jax.Array | None = None,
  axis: int | tuple[int, ...] | None = None,
) -> jax.Array:
  """Sums or averages values; with weights, the weighted sum or the true weighted mean.

  Args:
    values: float[...].
    mode: "sum" of w * value; "mean", which is that over the sum of the weights (their number if
      there are none), NaN where it is 0; "none", w * value, 0 where masked.
    weights: [...], the values' shape, at least 0, of any real dtype. A weight of 0 does not hide
      NaN; `where` does.
    where: bool[...]; values and weights where it is False count for nothing, NaN included. The
      gradient that reaches such a value is 0; that it stays 0 on the way back through a loss of NaN
      takes the loss's own `where`.
    axis: over which to reduce; all by default.

  Returns:
    The values' dtype, accumulated in float32 at least.

  Raises:
    ValueError: shapes do not agree, a weight is known to be negative, NaN or infinite, the mode is
      none of the three, or an axis is given to "none".
  """
  if mode not in ("none", "sum", "mean"):
    raise ValueError(f"reduce: mode is {mode!r}; it must be 'none', 'sum' or 'mean'")
  if mode == "none" and axis is not None:
    raise ValueError(f"reduce: axis is {axis}; mode 'none' keeps every axis")
  values = checks.outputs("reduce", values)
  wide = at_least_float32(values.dtype)
  terms = values.astype(wide)
  if where is not None:
    checks.mask("reduce", where, values.shape)
    terms = jnp.where(where, terms, 0)
  if weights is None:
    weights = jnp.ones_like(terms)
  else:
    weights = _weights(weights, values, where).astype(wide)
    terms = weights * terms
  if where is not None:
    weights, terms = jnp.where(where, weights, 0), jnp.where(where, terms, 0)
  if mode == "none":
    return terms.astype(values.dtype)
  total = jnp.sum(terms, axis=axis)
  if mode == "mean":
    total = total / jnp.sum(weights, axis=axis)
  return total.astype(values.dtype)


def _weights(weights: jax.Array, values: jax.Array, where: jax.Array | None) -> jax.Array:
  weights = jnp.asarray(weights)
  if weights.shape != values.shape:
    raise ValueError(
      f"reduce: values {list(values.shape)} and weights {list(weights.shape)} must have one shape"
    )
  if weights.dtype == jnp.bool_ or jnp.issubdtype(weights.dtype, jnp.complexfloating):
    raise ValueError(f"reduce: weights are {weights.dtype}; they must be real (where is for masks)")
  found, counted = known(weights), known(True if where is None else where)
  if found is not None and counted is not None:
    found = np.asarray(found, np.float64)
    wrong = ~((found >= 0) & (found < np.inf)) & counted
    if wrong.any():
      raise ValueError(f"reduce: a weight is {found[wrong][0]}; weights must be finite, at least 0")
  return jnp.where(where, weights, 0) if where is not None else weights
