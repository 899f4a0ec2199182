"""How far one method's figure is from another's, with an interval, by the bootstrap.

Figures of S runs (seeds) for the same U users: both users and runs are drawn anew, with
replacement, as either could have been others (Owen 2007, "The pigeonhole bootstrap"). Users are
drawn for both methods at once, so what makes a user hard for both is in no difference.

Letters: S and S' runs, U users.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vqlab.nn import checks
from vqlab.nn.dtypes import at_least_float32

CHUNK = 16  # resamples at a time


class Difference(NamedTuple):
  """A mean difference, and the interval that 95 % of resamples are in, or another part."""

  mean: jax.Array  # f[]
  low: jax.Array  # f[]
  high: jax.Array  # f[]


def paired_difference(
  ours: jax.Array,
  theirs: jax.Array,
  *,
  key: jax.Array,
  num_resamples: int = 2000,
  same_seeds: bool = False,
  part: float = 0.95,
) -> Difference:
  """The mean of ours less that of theirs, over users and runs, and its interval by percentiles.

  Of S runs the bootstrap sees (S - 1) / S of what runs vary by, and of a single one nothing: its
  interval is one over users alone.

  Args:
    ours: float[S, U], a figure of each user in each run.
    theirs: float[S', U], of the same users in the same order.
    key: of what is drawn.
    same_seeds: whether run s is of the same seed in both, S = S': then runs are drawn for both at
      once, as users are. Otherwise each method's runs are drawn for themselves.
    part: of the resamples that the interval holds.

  Raises:
    ValueError: shapes do not agree, there is nothing to draw from, or `part` is not in (0, 1).
  """
  checks.whole_number("paired_difference: num_resamples", num_resamples, least=1)
  if not 0 < part < 1:
    raise ValueError(f"paired_difference: part is {part}; it must be in (0, 1)")
  alike = ours.shape == theirs.shape if same_seeds else ours.shape[1:] == theirs.shape[1:]
  if ours.ndim != 2 or theirs.ndim != 2 or not alike or 0 in (*ours.shape, *theirs.shape):
    raise ValueError(
      f"paired_difference: ours {list(ours.shape)} and theirs {list(theirs.shape)} must be [runs, "
      f"users] of the same users{', and of as many runs' if same_seeds else ''}"
    )
  dtype = at_least_float32(ours.dtype, theirs.dtype)
  ours, theirs = jnp.asarray(ours, dtype), jnp.asarray(theirs, dtype)
  users = ours.shape[1]

  def mean_of_runs(key: jax.Array, values: jax.Array) -> jax.Array:
    drawn = jax.random.randint(key, (len(values),), 0, len(values), jnp.int32)
    return jnp.mean(values[drawn], axis=0)

  def resampled(key: jax.Array) -> jax.Array:
    keys = jax.random.split(key, 3)
    if same_seeds:
      each = mean_of_runs(keys[0], ours - theirs)
    else:
      each = mean_of_runs(keys[0], ours) - mean_of_runs(keys[1], theirs)
    return jnp.mean(each[jax.random.randint(keys[2], (users,), 0, users, jnp.int32)])

  means = jax.lax.map(resampled, jax.random.split(key, num_resamples), batch_size=CHUNK)
  outside = jnp.asarray([(1 - part) / 2, (1 + part) / 2], dtype)
  mean = jnp.mean(ours - theirs) if same_seeds else jnp.mean(ours) - jnp.mean(theirs)
  return Difference(mean, *jnp.quantile(means, outside))
