"""Dropout whose draws do not depend on how a batch is spread over devices."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


class Dropout(nn.Module):
  """In training x is 0 with the given rate and otherwise x / (1 - rate); else x as it is.

  As `flax.linen.Dropout`, by the generator "dropout"; but each example by a key of its own, which
  is folded with its row.
  """

  rate: float

  def __call__(self, x: jax.Array, *, train: bool, rows: jax.Array | None = None) -> jax.Array:
    """[B, ...] -> [B, ...].

    Args:
      x: [B, ...], floating point.
      train: whether anything is dropped; needs `rngs={"dropout": key}`.
      rows: i32[B], places in the batch over all devices; None: 0, 1, ...
    """
    if not train or not self.rate:
      return x
    rows = jnp.arange(x.shape[0]) if rows is None else rows
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(self.make_rng("dropout"), rows)
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
    return lax.select(keep, x / jnp.asarray(1 - self.rate, x.dtype), jnp.zeros_like(x))
