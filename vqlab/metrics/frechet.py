"""Frechet distance of two sets of features (FID; Heusel et al. 2017, arXiv 1706.08500).

Each set is summarised as a Gaussian, and the distance squared of the two Gaussians is

    d^2 = |m_1 - m_2|^2 + tr C_1 + tr C_2 - 2 tr (C_1^(1/2) C_2 C_1^(1/2))^(1/2)

    sums = feature_sums(features, mask=mask)     # inside jit, a batch; merge and across as any sums
    d2 = frechet_distance(moments(real_sums), moments(sample_sums))         # once, on the host

`moments` and `frechet_distance` work in float64 with NumPy, whatever JAX's precision. With the
2048 pooled features of `vqlab.features.InceptionV3` d^2 is the FID. It depends on how images were
resized (`vqlab.features.inception_images`) and, with a bias that falls as 1 / N, on their number.

Shapes: B batch, D features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vqlab.metrics.sums import broadcast_mask
from vqlab.nn.dtypes import at_least_float32

# A distance is refused where rounding may have moved it by this share of its largest terms.
_DISTANCE_ERROR = 1e-3
_EPS = float(np.finfo(np.float32).eps)
# Measured with 50,000 examples of 64 features, means of 1.3 to 18 deviations, in trace norm: added
# up at once 0.5 to 0.8 of eps sqrt(D) tr; M batches in float32 (98 to 12,500) 0.08 to 0.14 sqrt(M)
# of it, so 0.4 to 0.8 of what is estimated. The distance is off by less.
_ROUNDING_OF_MERGES = 1 / 32


class FeatureSums(NamedTuple):
  """Sums over examples of what is left of the features x when a reference r is taken away."""

  count: jax.Array  # f32[]      examples
  sum: jax.Array  # f32[D]     of x - r
  outer: jax.Array  # f32[D, D]  of (x - r)(x - r)^T
  reference: jax.Array  # f32[D]     of r, once an example: by it `moments` knows r again
  batches: jax.Array  # f32[]      how many were added up, which is how often the sums were rounded


class Moments(NamedTuple):
  """The Gaussian of a set of features, in float64 on the host."""

  count: float
  mean: np.ndarray  # f64[D]
  covariance: np.ndarray  # f64[D, D]  unbiased: divided by count - 1
  error: float  # trace norm, roughly, of what rounding did to the covariance


def feature_sums(
  features: jax.Array, *, reference: jax.Array | None = None, mask: jax.Array | None = None
) -> FeatureSums:
  """The sums of a batch; those of several batches and devices add up.

  Covariances are differences of sums: where features lie far from the origin compared with their
  spread (|mean|^2 above about 100 times the variance, both summed over features), float32 needs a
  `reference` near their mean, as the mean of the first batch: the same one for all batches.
  `frechet_distance` says so where it is missing. Features after a ReLU hardly ever need it.

  Args:
    features: [B, D].
    reference: [D]; 0 where None. `moments` needs the very same.
    mask: bool[B]; rows where it is False count for nothing, NaN included.

  Raises:
    ValueError: the shapes do not agree.
  """
  if features.ndim != 2:
    raise ValueError(f"feature_sums: features must be [B, D]; found {features.shape}")
  x = features.astype(at_least_float32(features.dtype))
  origin = jnp.zeros(x.shape[1:], x.dtype)
  if reference is not None:
    if reference.shape != x.shape[1:]:
      raise ValueError(
        f"feature_sums: the reference must be [{x.shape[1]}] for features {list(x.shape)}; "
        f"found {list(reference.shape)}"
      )
    origin = lax.stop_gradient(reference).astype(x.dtype)
    x = x - origin
  count = jnp.asarray(x.shape[0], x.dtype)
  if mask is not None:
    counts = broadcast_mask("feature_sums", mask, x.shape[:1])
    x, count = jnp.where(counts[:, None], x, 0), jnp.sum(counts.astype(x.dtype))
  # The default precision of a GPU or TPU would leave 10 or 8 bits of each feature.
  outer = jnp.matmul(x.T, x, precision=lax.Precision.HIGHEST)
  return FeatureSums(count, jnp.sum(x, axis=0), outer, count * origin, jnp.ones_like(count))


def moments(sums: FeatureSums, *, reference: jax.Array | None = None) -> Moments:
  """Count, mean and unbiased covariance, in float64 on the host.

  Args:
    sums: of all batches.
    reference: [D], the very one the sums were taken with, all of them; None where that was none.

  Raises:
    ValueError: fewer than 2 examples, features that are not finite, or a reference that is not the
      sums'.
  """
  count = float(sums.count)
  total, outer = np.asarray(sums.sum, np.float64), np.asarray(sums.outer, np.float64)
  bad = np.flatnonzero(~np.isfinite(total) | ~np.isfinite(np.diagonal(outer)))
  if bad.size or not np.isfinite(outer).all():
    raise ValueError(
      f"moments: {bad.size} of {total.size} features are NaN or infinite in some example"
      + (f"; the first is feature {bad[0]}" if bad.size else "")
    )
  if not count >= 2:
    raise ValueError(f"moments: a covariance needs 2 examples or more; found {count:g}")
  reference = _same_reference(sums, reference)
  shift = total / count
  covariance = (outer - count * np.outer(shift, shift)) / (count - 1)
  # Of float32 even for sums in float64, which were float32 within a batch.
  error = float(_EPS * np.sqrt(total.size) * np.trace(outer)) / (count - 1)
  if np.dtype(sums.outer.dtype).itemsize < 8:
    # Every batch that is added in float32 rounds the sums once more, to either side.
    error *= float(np.sqrt(1 + _ROUNDING_OF_MERGES * float(sums.batches)))
  return Moments(count, shift + reference, (covariance + covariance.T) / 2, error)


def _same_reference(sums: FeatureSums, reference: jax.Array | None) -> np.ndarray:
  """The reference in float64, or 0; raises where it is not the one the sums hold."""
  held = np.asarray(sums.reference, np.float64) / float(sums.count)
  given = np.zeros(1) if reference is None else np.asarray(reference)
  if reference is not None and given.shape != held.shape:
    raise ValueError(
      f"moments: the reference must be [{held.size}], as the sums'; found {list(given.shape)}"
    )
  given = given.astype(np.dtype(sums.reference.dtype)).astype(np.float64)
  # The sum of count * r over batches is rounded once a batch, all to one side at worst.
  rounding = _EPS * (4 + float(sums.batches)) * np.abs(given)
  wrong = np.flatnonzero(~(np.abs(held - given) <= rounding))
  if wrong.size:
    d = wrong[0]
    told = "none is given" if reference is None else f"the one given has {given[d]:g} there"
    raise ValueError(
      f"moments: the sums' reference, on average, has {held[d]:g} for feature {d}; {told}. It must "
      "be the very same for all sums and here"
    )
  return given


def frechet_distance(first: Moments, second: Moments) -> float:
  """d^2 of two sets of features, at least 0; see the module's docstring for the formula.

  Singular covariances, as of fewer examples than features, are no special case: roots are taken by
  eigenvalues, and those that rounding made negative count as 0. Roots magnify what rounding left
  of a covariance that is 0: samples that are all alike are right to three digits without a
  reference, and to five with one.

  Raises:
    ValueError: the numbers of features differ, or so much was lost to rounding in the sums that
      the distance could be off by 0.1 % of the variances and the squared difference of the means
      together (`feature_sums` needs a reference).
  """
  if first.mean.shape != second.mean.shape:
    raise ValueError(
      f"frechet_distance: the sets have {first.mean.size} and {second.mean.size} features; "
      "they must come from one network's one output"
    )
  traces = float(np.trace(first.covariance) + np.trace(second.covariance))
  shift = first.mean - second.mean
  between = float(shift @ shift)
  error = first.error + second.error
  if error > _DISTANCE_ERROR * (abs(traces) + between):
    raise ValueError(
      f"frechet_distance: rounding in the sums may be as large as {error:.3g}; the variances sum "
      f"to {traces:.3g}, the means differ by {between:.3g} squared. Give feature_sums and moments "
      "a reference near the features' mean"
    )
  values, vectors = np.linalg.eigh(first.covariance)
  root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
  product = root @ second.covariance @ root
  cross = np.sum(np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0, None)))
  return max(0.0, float(between + traces - 2 * cross))
