"""Training images moved about, each by draws of its own."""

import jax
import jax.numpy as jnp


def shifted(images: jax.Array, keys: jax.Array, most: int) -> jax.Array:
  """Images [B, H, W, C] moved by -most..most pixels each way, their borders repeated; keys: [B]."""
  return jax.vmap(lambda image, key: _shifted(image, key, most))(images, keys)


def _shifted(image: jax.Array, key: jax.Array, most: int) -> jax.Array:
  padded = jnp.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")
  at = jax.random.randint(key, (2,), 0, 2 * most + 1, jnp.int32)
  return jax.lax.dynamic_slice(padded, (at[0], at[1], jnp.int32(0)), image.shape)
