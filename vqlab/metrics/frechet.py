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


class FeatureSums(NamedTuple):
  """Sums over examples of what is left of the features x when a reference r is taken away."""

  count: jax.Array  # f32[]      examples
  sum: jax.Array  # f32[D]     of x - r
  outer: jax.Array  # f32[D, D]  of (x - r)(x - r)^T


class Moments(NamedTuple):
  """The Gaussian of a set of features, in float64 on the host."""

  count: float
  mean: np.ndarray  # f64[D]
  covariance: np.ndarray  # f64[D, D]  unbiased: divided by count - 1
  error: float  # trace norm, roughly, of what rounding did to the covariance


class Frechet(NamedTuple):
  """A squared distance, and roughly how far rounding in the sums may have moved it."""

  distance: float
  error: float


def feature_sums(
  features: jax.Array, *, reference: jax.Array | None = None, mask: jax.Array | None = None
) -> FeatureSums:
  """The sums of a batch; those of several batches and devices add up.

  Covariances are differences of sums: where features lie far from the origin compared with their
  spread (|mean|^2 above about 100 times the variance, both summed over features), float32 needs a
  `reference` near their mean, as the mean of the first batch: the same one for all batches.
  `Frechet.error` shows where it is missing. Features after a ReLU hardly ever need it.

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
  if reference is not None:
    if reference.shape != x.shape[1:]:
      raise ValueError(
        f"feature_sums: the reference must be [{x.shape[1]}] for features {list(x.shape)}; "
        f"found {list(reference.shape)}"
      )
    x = x - lax.stop_gradient(reference).astype(x.dtype)
  count = jnp.asarray(x.shape[0], x.dtype)
  if mask is not None:
    counts = broadcast_mask("feature_sums", mask, x.shape[:1])
    x, count = jnp.where(counts[:, None], x, 0), jnp.sum(counts.astype(x.dtype))
  # The default precision of a GPU or TPU would leave 10 or 8 bits of each feature.
  outer = jnp.matmul(x.T, x, precision=lax.Precision.HIGHEST)
  return FeatureSums(count, jnp.sum(x, axis=0), outer)


def moments(sums: FeatureSums, *, reference: jax.Array | None = None) -> Moments:
  """Count, mean and unbiased covariance, in float64 on the host.

  Args:
    sums: of all batches.
    reference: [D], the very one the sums were taken with, all of them; None where that was none.

  Raises:
    ValueError: fewer than 2 examples, or features that are not finite.
  """
  count = float(sums.count)
  total, outer = np.asarray(sums.sum, np.float64), np.asarray(sums.outer, np.float64)
  if not count >= 2:
    raise ValueError(f"moments: a covariance needs 2 examples or more; found {count:g}")
  if not np.isfinite(outer).all():
    raise ValueError("moments: features are NaN or infinite in some example")
  shift = total / count
  covariance = (outer - count * np.outer(shift, shift)) / (count - 1)
  # Measured with 50,000 examples of 64 features, means of 1.3 to 18 deviations, in trace norm: 0.5
  # to 0.8 of this where they are added up at once, 0.08 to 0.14 sqrt(M) of it in M batches (98 to
  # 12,500). Of float32 even for sums in float64, which were float32 within a batch.
  error = np.finfo(np.float32).eps * np.sqrt(total.size) * np.trace(outer) / (count - 1)
  if reference is not None:
    # In the precision of the sums, as it was taken away.
    shift = shift + np.asarray(reference).astype(np.dtype(sums.sum.dtype))
  return Moments(count, shift, (covariance + covariance.T) / 2, float(error))


def frechet_distance(first: Moments, second: Moments) -> Frechet:
  """d^2 of two sets of features, at least 0; see the module's docstring for the formula.

  The error is roughly what rounding in the sums did to both covariances, in trace norm; the
  distance is off by less. Where it is no small part of the distance, give `feature_sums` and
  `moments` a reference near the features' mean. M batches added up in float32 round sqrt(M / 50)
  times as much where M is above 50.

  Singular covariances, as of fewer examples than features, are no special case: roots are taken by
  eigenvalues, and those that rounding made negative count as 0. Only roots of a covariance that is
  0 magnify what rounding left of it, which the error does not tell: samples that are all alike are
  right to three digits without a reference, and to five with one.

  Raises:
    ValueError: the numbers of features differ.
  """
  if first.mean.shape != second.mean.shape:
    raise ValueError(
      f"frechet_distance: the sets have {first.mean.size} and {second.mean.size} features; "
      "they must come from one network's one output"
    )
  traces = float(np.trace(first.covariance) + np.trace(second.covariance))
  shift = first.mean - second.mean
  values, vectors = np.linalg.eigh(first.covariance)
  root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
  product = root @ second.covariance @ root
  cross = np.sum(np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0, None)))
  distance = max(0.0, float(shift @ shift + traces - 2 * cross))
  return Frechet(distance, first.error + second.error)
