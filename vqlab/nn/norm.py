"""Normalization: of batches, by an axis that is an argument of the call, and of single vectors."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from vqlab.nn.dtypes import at_least_float32


class BatchNorm(nn.Module):
  """(x - mean) / sqrt(var + epsilon) scale + bias, for each channel (arXiv 1502.03167).

  With `train` mean and variance are the batch's, over all axes but the last, and the running ones
  become momentum * running + (1 - momentum) * batch; without, they are the running ones. Names and
  numerics are those of `flax.linen.BatchNorm`: params scale and bias, batch_stats mean and var.
  Both variances are biased (divided by the count), as Flax's are; PyTorch's running one is not, and
  its momentum is 1 - momentum.

  Attributes:
    momentum: what the running statistics keep of themselves.
    epsilon: added to the variance.
    use_scale: whether there is a scale; without, it is 1 (TensorFlow's "center only").
    scale_init: what the scale begins as.
    dtype: of the result; statistics are computed in float32 at least.
    param_dtype: of the parameters; the running statistics have float32 at least.
  """

  momentum: float = 0.9
  epsilon: float = 1e-5
  use_scale: bool = True
  scale_init: Initializer = nn.initializers.ones
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool,
    axis_name: str | None = None,
    mask: jax.Array | None = None,
  ) -> jax.Array:
    """[..., C] -> [..., C].

    Args:
      x: [..., C], floating point.
      train: by the batch's statistics, not the running ones; needs `mutable=["batch_stats"]`.
      axis_name: a mapped axis over whose devices the batch extends; arrays that are sharded under
        `jit` need none.
      mask: bool, x's leading axes, such as [B]; where it is False x counts for nothing, NaN
        included, and its result means nothing. Somewhere in the batch it must be True.

    Raises:
      ValueError: the mask is not bool or its shape is no prefix of x's.
    """
    channels = x.shape[-1:]
    dtype = at_least_float32(x.dtype, self.param_dtype)
    kept = at_least_float32(self.param_dtype)
    mean = self.variable("batch_stats", "mean", jnp.zeros, channels, kept)
    var = self.variable("batch_stats", "var", jnp.ones, channels, kept)
    scale = jnp.ones(channels, dtype)
    if self.use_scale:
      scale = self.param("scale", self.scale_init, channels, self.param_dtype).astype(dtype)
    bias = self.param("bias", nn.initializers.zeros, channels, self.param_dtype).astype(dtype)

    x = x.astype(dtype)
    if mask is not None:
      if mask.dtype != jnp.bool_ or mask.shape != x.shape[: mask.ndim]:
        raise ValueError(
          f"BatchNorm: mask must be bool over leading axes of {list(x.shape)}; "
          f"found {mask.dtype}{list(mask.shape)}"
        )
      mask = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
      x = jnp.where(mask, x, 0)
    if not train:
      used_mean, used_var = mean.value.astype(dtype), var.value.astype(dtype)
      y = (x - used_mean) * (lax.rsqrt(used_var + self.epsilon) * scale) + bias
      return y.astype(self.dtype)
    # There is no mapped axis yet where parameters are made.
    axis_name = None if self.is_initializing() else axis_name
    y, *moments = _by_moments(self.epsilon, axis_name, x, scale, bias, mask)
    if not self.is_initializing():
      for running, batch in zip((mean, var), moments, strict=True):
        batch = (1 - self.momentum) * batch.astype(kept)
        running.value = self.momentum * running.value + batch
    return y.astype(self.dtype)


class LayerNorm(nn.Module):
  """(x - mean) / sqrt(var + epsilon) scale + bias, for each vector (arXiv 1607.06450).

  Its params are those of `flax.linen.LayerNorm`, which strict promotion of dtypes refuses for other
  than float32.

  Attributes:
    epsilon: added to the variance, which is biased.
    dtype: of the result; statistics are computed in float32 at least.
    param_dtype: of the parameters.
  """

  epsilon: float = 1e-6
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., C] -> [..., C]."""
    dtype = at_least_float32(x.dtype, self.param_dtype)
    scale = self.param("scale", nn.initializers.ones, x.shape[-1:], self.param_dtype)
    bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], self.param_dtype)
    x = x.astype(dtype)
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    x = x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.epsilon)
    return (x * scale.astype(dtype) + bias.astype(dtype)).astype(self.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _by_moments(
  epsilon: float,
  axis_name: str | None,
  x: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  mask: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """x normalized, the batch's mean and its biased variance, over all devices.

  x is 0 where it doesn't count.
  """
  mean, var = _moments(x, mask, axis_name)
  return (x - mean) * (lax.rsqrt(var + epsilon) * scale) + bias, mean, var


@_by_moments.defjvp
def _by_moments_jvp(
  epsilon: float, axis_name: str | None, primals: tuple, tangents: tuple
) -> tuple[tuple, tuple]:
  """The tangents read x alone, in two sums and one term: gradients keep x and go over it twice."""
  (x, scale, bias, mask), (dx, dscale, dbias, _) = primals, tangents
  y, mean, var = _by_moments(epsilon, axis_name, x, scale, bias, mask)
  count = _count(x, mask, axis_name)
  axes = tuple(range(x.ndim - 1))
  sums = jnp.sum(dx, axes), jnp.sum(dx * x, axes)
  if axis_name is not None:
    sums = lax.psum(sums, axis_name)
  dmean, products = (s / count for s in sums)
  dvar = 2 * (products - mean * dmean)
  rate = lax.rsqrt(var + epsilon)
  slope, dslope = rate * scale, rate * dscale - rate**3 / 2 * scale * dvar
  dy = dx * slope + x * dslope + (dbias - dmean * slope - mean * dslope)
  return (y, mean, var), (dy, dmean, dvar)


def _moments(
  x: jax.Array, mask: jax.Array | None, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
  """Mean and biased variance [C] of what counts, over all devices; x is 0 where it doesn't."""
  axes = tuple(range(x.ndim - 1))
  sums = jnp.sum(x, axes), jnp.sum(jnp.square(x), axes)
  total, squares = sums if axis_name is None else lax.psum(sums, axis_name)
  count = _count(x, mask, axis_name)
  mean = total / count
  return mean, jnp.maximum(squares / count - jnp.square(mean), 0)


def _count(x: jax.Array, mask: jax.Array | None, axis_name: str | None) -> jax.Array:
  """How many values of a channel count, over all devices."""
  count = jnp.asarray(math.prod(x.shape[:-1]), x.dtype)
  if mask is not None:
    count = jnp.sum(mask.astype(x.dtype)) * (math.prod(x.shape[:-1]) // mask.size)
  return count if axis_name is None else lax.psum(count, axis_name)
