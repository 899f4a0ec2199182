"""Shape and dtype checks of the quantizers: one line that says what was found and what would do."""

import jax
import jax.numpy as jnp


def vectors(name: str, z: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Both as JAX's arrays; raises unless float[..., D] and float[K, D] with K, D >= 1."""
  z, codebook = jnp.asarray(z), jnp.asarray(codebook)
  if codebook.ndim != 2 or 0 in codebook.shape:
    raise ValueError(f"{name}: the codebook must be [K, D], K and D >= 1; found {codebook.shape}")
  if z.ndim < 1 or z.shape[-1] != codebook.shape[1]:
    raise ValueError(
      f"{name}: the last axis of z must be the codebook's D = {codebook.shape[1]}; "
      f"found z of shape {z.shape}"
    )
  for what, x in (("z", z), ("the codebook", codebook)):
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(f"{name}: {what} must be floating point; found {x.dtype}")
  return z, codebook


def mask(name: str, mask: jax.Array | None, shape: tuple[int, ...]) -> None:
  """Raises unless mask is None or bool of the given shape."""
  if mask is not None and (mask.dtype != jnp.bool_ or mask.shape != shape):
    raise ValueError(
      f"{name}: mask must be bool{list(shape)}; found {mask.dtype}{list(mask.shape)}"
    )


def same_shape(name: str, z: jax.Array, codes: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Both as JAX's arrays; raises unless they are floating point [..., D] of one shape."""
  z, codes = jnp.asarray(z), jnp.asarray(codes)
  floating = all(jnp.issubdtype(x.dtype, jnp.floating) for x in (z, codes))
  if z.shape != codes.shape or z.ndim < 1 or not floating:
    raise ValueError(
      f"{name}: z and codes must both be floating point [..., D] of one shape; "
      f"found {z.dtype}{list(z.shape)} and {codes.dtype}{list(codes.shape)}"
    )
  return z, codes
