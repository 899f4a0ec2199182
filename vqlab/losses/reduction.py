"""Values to one number: sums and means, weighted or not, of what is not masked."""

from typing import Literal

import jax
import jax.numpy as jnp

from vqlab.losses import targets as checks
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
    weights: [...], the values' shape, of any real dtype. A weight of 0 does not hide NaN; `where`
      does.
    where: bool[...]; values and weights where it is False count for nothing, NaN included. The
      gradient that reaches such a value is 0; that it stays 0 on the way back through a loss of NaN
      takes the loss's own `where`.
    axis: over which to reduce; all by default. "none" keeps every axis.

  Returns:
    The values' dtype, accumulated in float32 at least.

  Raises:
    ValueError: shapes do not agree, or the mode is none of the three.
  """
  if mode not in ("none", "sum", "mean"):
    raise ValueError(f"reduce: mode is {mode!r}; it must be 'none', 'sum' or 'mean'")
  values = checks.outputs("reduce", values)
  wide = at_least_float32(values.dtype)
  terms = values.astype(wide)
  weights = jnp.ones_like(terms) if weights is None else jnp.asarray(weights).astype(wide)
  if weights.shape != values.shape:
    raise ValueError(
      f"reduce: values {list(values.shape)} and weights {list(weights.shape)} must have one shape"
    )
  if where is not None:
    checks.mask("reduce", where, values.shape)
    terms, weights = jnp.where(where, terms, 0), jnp.where(where, weights, 0)
  terms = weights * terms
  if mode == "none":
    return terms.astype(values.dtype)
  total = jnp.sum(terms, axis=axis)
  if mode == "mean":
    total = total / jnp.sum(weights, axis=axis)
  return total.astype(values.dtype)
