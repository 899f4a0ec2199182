"""Pixels as networks read them, and as bytes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def from_bytes(images: jax.Array, dtype: Any, *, low: float = -0.5) -> jax.Array:
  """Images or clips u8[B, ..., H, W, C] -> [low, low + 1], in float32 at least."""
  images = images.astype(jnp.promote_types(dtype, jnp.float32)) / 255
  return images + low if low else images


def to_bytes(images: Any, *, low: float = -0.5) -> np.ndarray:
  """Images or clips in [low, low + 1], or near it, as uint8."""
  return np.uint8(np.clip(np.rint((np.asarray(images, np.float32) - low) * 255), 0, 255))
