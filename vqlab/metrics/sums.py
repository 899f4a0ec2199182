"""Averages as a sum and a count, so that batches and devices merge whatever their sizes.

    total = sums.total(values, mask=mask)          # inside jit; global over sharded arrays
    total = sums.merge(total, next_total)          # over batches
    total = sums.across(total, "data")             # over devices, under pmap or shard_map
    sums.mean(total)                               # once, at the end

Counts in float32 are exact up to 2^24; over more values than that, add the sums up in float64 on
the host, as NumPy arrays do. Merging means adding, so any pytree of sums (code counts, too) goes
through `merge` and `across`.
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.nn.dtypes import at_least_float32

Sums = TypeVar("Sums")


class Total(NamedTuple):
  """A sum and how many values are in it."""

  sum: jax.Array  # f32[]
  count: jax.Array  # f32[]


def total(values: jax.Array, *, mask: jax.Array | None = None) -> Total:
  """The sum of the values that count, and their number.

  Args:
    values: [...].
    mask: bool, values' leading axes; values where it is False count for nothing, NaN included.

  Raises:
    ValueError: the mask is not bool or its shape is no prefix of the values'.
  """
  values = values.astype(at_least_float32(values.dtype))
  if mask is None:
    return Total(jnp.sum(values), jnp.asarray(values.size, values.dtype))
  mask = broadcast_mask("total", mask, values.shape)
  return Total(jnp.sum(jnp.where(mask, values, 0)), jnp.sum(mask.astype(values.dtype)))


def broadcast_mask(name: str, mask: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """A mask over leading axes as bool of the whole shape; raises ValueError where it is not one."""
  if mask.dtype != jnp.bool_ or mask.shape != shape[: mask.ndim]:
    raise ValueError(
      f"{name}: mask must be bool over leading axes of values {list(shape)}; "
      f"found {mask.dtype}{list(mask.shape)}"
    )
  return jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def merge(first: Sums, *others: Sums) -> Sums:
  """The sums of several batches as one: any pytrees of sums of one structure."""
  for other in others:
    first = jax.tree.map(lambda a, b: a + b, first, other)
  return first


def across(sums: Sums, axis_name: str | None) -> Sums:
  """The sums of all devices along a mapped axis; as they are where there is none."""
  return sums if axis_name is None else lax.psum(sums, axis_name)


def mean(total: Total) -> jax.Array:
  """sum / count; NaN where nothing was counted."""
  return total.sum / total.count
