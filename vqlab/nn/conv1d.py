"""Convolutions over time, [B, T, C], as one product with the windows written out.

XLA's CPU has no fast convolution of one dimension, but its products are.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from vqlab.nn.dense import product


class Conv1D(nn.Module):
  """A convolution over time: [B, T, C] -> [B, ceil(T / stride), F], zeros outside.

  Output i reads the inputs from i stride - (kernel_size - stride) // 2 on, whatever T is: what
  follows a sequence changes no output but its last ones. (Padding "SAME" puts more zeros in front
  where T is no multiple of an odd stride.)

  Attributes:
    features: F.
    kernel_size: samples that an output reads.
    stride: samples from one output to the next.
    dtype: compute dtype; None promotes that of the input and the parameters.
    param_dtype: dtype of the parameters.
  """

  features: int
  kernel_size: int = 3
  stride: int = 1
  dtype: DTypeLike | None = None
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    k, s = self.kernel_size, self.stride
    shape = (k, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, self.param_dtype)
    bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
    outputs = -(-x.shape[1] // s)
    front = max(k - s, 0) // 2
    back = max((outputs - 1) * s + k - front - x.shape[1], 0)
    x = jnp.pad(x, ((0, 0), (front, back), (0, 0)))
    taps = [x[:, j : j + (outputs - 1) * s + 1 : s] for j in range(k)]
    return product(jnp.concatenate(taps, axis=-1), kernel.reshape(-1, self.features)) + bias
