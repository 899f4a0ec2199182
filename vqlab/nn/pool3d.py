"""Pools over clips [B, T, H, W, C], and their lowering by platform."""

import jax
import numpy as np
from jax import lax

from vqlab.nn.conv3d import Padding3D, Triple


def max_pool3d(x: jax.Array, window: Triple, *, stride: Triple, padding: Padding3D) -> jax.Array:
  """The greatest of each window: [B, T, H, W, C] -> [B, T', H', W', C].

  Args:
    x: [B, T, H, W, C], floating point.
    window, stride: of T, H and W.
    padding: positions before and after T, H and W that are less than any other.
  """
  lowest = np.asarray(-np.inf, x.dtype)  # a constant, for which there is a gradient
  full = lambda values: (1, *values, 1)
  pads = ((0, 0), *padding, (0, 0))
  return lax.reduce_window(x, lowest, lax.max, full(window), full(stride), pads)
