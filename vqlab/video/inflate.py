"""Kernels for clips from kernels for images.

inflate            repeated over time and divided by its length, so that a clip of one image
                   repeated gives what the image gave (Carreira and Zisserman 2017, arXiv
                   1705.07750, section 2.4)
cross_modality     a first layer for flow from one for colours: their mean, for every channel
                   (Wang et al. 2016, arXiv 1608.00859, section 3.2)
"""

import jax
import jax.numpy as jnp


def inflate(kernel: jax.Array, frames: int) -> jax.Array:
  """[kh, kw, I, O] -> [frames, kh, kw, I, O]; arrays of NumPy stay NumPy's.

  Raises:
    ValueError: another shape, or no frames.
  """
  if kernel.ndim != 4 or frames < 1:
    raise ValueError(
      f"inflate: a kernel must be [kh, kw, I, O] and frames at least 1; found "
      f"{list(kernel.shape)} and {frames}"
    )
  return (kernel / frames)[None].repeat(frames, axis=0)


def cross_modality(kernel: jax.Array, channels: int) -> jax.Array:
  """[..., I, O] of a first layer -> [..., channels, O], each the mean over the I.

  Flow of L frames stacked has 2 L channels.
  """
  mean = jnp.mean(jnp.asarray(kernel), axis=-2, keepdims=True)
  return jnp.repeat(mean, channels, axis=-2)
