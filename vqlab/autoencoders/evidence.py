"""Diagonal normals, and what the members of a group together say: the product of theirs.

ML-VAE (Bouchacourt, Tomioka, Nowozin 2018, arXiv 1705.08841): every member i of a group tells of
the group's content by a normal q(c | x_i) = N(mu_i, v_i). Their product, normalized, is

    1 / v = sum_i 1 / v_i        mu = v sum_i mu_i / v_i

so evidence accumulates: k equal members have a k-th of one's variance. The prior is not multiplied
in. All of it is computed with the logarithms of precisions, w_i = -logvar_i:

    logvar = -logsumexp_i w_i    mu = sum_i softmax(w)_i mu_i

Shapes: N observations, G groups, D dimensions.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vqlab.nn import checks
from vqlab.nn.dtypes import at_least_float32

Variance = Literal["product", "harmonic"]


class Normal(NamedTuple):
  """Normal distributions with diagonal covariance."""

  mu: jax.Array  # f32[..., D]
  logvar: jax.Array  # f32[..., D]  natural logarithm of the variance

  def sample(self, noise: jax.Array) -> jax.Array:
    """mu + sigma noise, for standard normal noise [..., D]."""
    return self.mu + jnp.exp(0.5 * self.logvar) * noise


def accumulate(
  mu: jax.Array,
  logvar: jax.Array,
  group_ids: jax.Array,
  num_groups: int,
  *,
  mask: jax.Array | None = None,
  variance: Variance = "product",
  axis_name: str | None = None,
) -> Normal:
  """The normals of groups [G, D] from those of their members [N, D], in any order.

  Groups may be of any sizes. One whose members are all masked, or have infinite variances, knows
  nothing: it gets the standard normal, the prior, so that its KL is 0. Outside of jit, where ids
  are known, a group without members is an error; under jit it is such a group, and members whose
  id is out of range belong to none.

  Args:
    mu, logvar: [N, D], a normal a member; variances positive.
    group_ids: int[N], in [0, G); anything where the mask is False.
    num_groups: G, static.
    mask: bool[N]; members where it is False count for nothing, NaN included, and get no gradient.
    variance: "product" is the product of normals; "harmonic" is the harmonic mean of variances,
      n times the product's for n members, with the same mean: what disentanglement_lib's MLVae
      (Locatello et al. 2020, arXiv 2002.02886) computes for its pairs.
    axis_name: a mapped axis over which groups extend; the result is the same on all devices.

  Raises:
    ValueError: shapes do not agree, an id is out of range, a group has no members, or `variance`
      is none of the two.
  """
  mu, logvar = jnp.asarray(mu), jnp.asarray(logvar)
  if mu.ndim != 2 or mu.shape != logvar.shape:
    raise ValueError(
      f"accumulate: mu and logvar must be two [N, D]; found {list(mu.shape)}, {list(logvar.shape)}"
    )
  if variance not in ("product", "harmonic"):
    raise ValueError(f"accumulate: variance is {variance!r}; it must be 'product' or 'harmonic'")
  ids, counts = members_of("accumulate", group_ids, num_groups, len(mu), mask)
  dtype = at_least_float32(mu.dtype, logvar.dtype)
  total = lambda x: across_groups(x, ids, num_groups, axis_name=axis_name)
  knows = counts[:, None] & ~(logvar == jnp.inf)  # NaN counts, and shows
  mu, logvar = (jnp.where(knows, x, jnp.zeros((), x.dtype)).astype(dtype) for x in (mu, logvar))

  # The greatest log-precision of a group, so that none overflows; it cancels, and so do gradients.
  weight = lax.stop_gradient(jnp.where(knows, -logvar, -jnp.inf))
  most = jax.ops.segment_max(weight, ids, num_groups)
  if axis_name is not None:
    most = lax.pmax(most, axis_name)
  most = jnp.where(jnp.isfinite(most), most, 0)
  relative = jnp.where(knows, -logvar - most[ids], 0)
  precision = jnp.where(knows, jnp.exp(relative), 0)
  sums = total(precision)
  empty = sums == 0
  sums = jnp.where(empty, 1, sums)
  # Weights first: their products with mu can't overflow.
  means = total(precision / sums[ids] * mu)
  logvars = -(most + jnp.log(sums))
  if variance == "harmonic":
    logvars += jnp.log(jnp.maximum(total(counts.astype(dtype)), 1))[:, None]
  return Normal(means, jnp.where(empty, 0, logvars))


def across_groups(
  values: jax.Array, group_ids: jax.Array, num_groups: int, *, axis_name: str | None = None
) -> jax.Array:
  """Sums over each group's members, [N, ...] -> [G, ...], on all devices of a mapped axis."""
  sums = jax.ops.segment_sum(values, group_ids, num_groups)
  return sums if axis_name is None else lax.psum(sums, axis_name)


def to_members(of_groups: Any, group_ids: jax.Array) -> Any:
  """What groups have, a pytree of [G, ...], for each of their members: [N, ...].

  NaN, in floating-point leaves, for ids out of range.
  """

  ids = jnp.asarray(group_ids).astype(jnp.int32)  # small ones could not be compared with G

  def spread(x: jax.Array) -> jax.Array:
    known = jnp.where(ids < 0, len(x), ids)  # which would count from the end
    return x.at[known].get(mode="fill")

  return jax.tree.map(spread, of_groups)


def members_of(
  name: str, group_ids: Any, num_groups: int, size: int, mask: Any
) -> tuple[jax.Array, jax.Array]:
  """Ids i32[N] and which of them count, bool[N]: those that are in range and not masked.

  Raises:
    ValueError: ids are not int[N] in [0, G), the mask not bool[N], or a group is empty, as far as
      they are known.
  """
  checks.whole_number(f"{name}: num_groups", num_groups, least=1)
  ids = jnp.asarray(group_ids)
  if ids.shape != (size,) or not jnp.issubdtype(ids.dtype, jnp.integer):
    raise ValueError(
      f"{name}: group_ids must be int[{size}], one an observation; "
      f"found {ids.dtype}{list(ids.shape)}"
    )
  mask = jnp.ones(size, jnp.bool_) if mask is None else jnp.asarray(mask)
  if mask.shape != (size,) or mask.dtype != jnp.bool_:
    raise ValueError(
      f"{name}: mask must be bool[{size}], one an observation; found {mask.dtype}{list(mask.shape)}"
    )
  checks.integers_in_range(f"{name}: group_ids", ids, num_groups, where=mask)
  ids = ids.astype(jnp.int32)
  known, counted = checks.known(ids), checks.known(mask)
  if known is not None and counted is not None:
    members = np.bincount(known[counted], minlength=num_groups)
    if not members.all():
      raise ValueError(
        f"{name}: group {members.argmin()} of {num_groups} is empty; "
        "every group needs an observation"
      )
  return ids, mask & (ids >= 0) & (ids < num_groups)
