"""Gradient estimators: (z, codes) -> vectors, the codes with a gradient for z."""

from collections.abc import Callable

import jax
from jax import lax

from vqlab.quantize import checks

Estimator = Callable[[jax.Array, jax.Array], jax.Array]


def straight_through(z: jax.Array, codes: jax.Array) -> jax.Array:
  """The codes, with the decoder's gradient handed to z unchanged and none to the codes.

  The value is exactly `codes` in z's dtype: z only enters as z - z. Source: van den Oord et al.
  2017 (arXiv 1711.00937), section 3.2.

  Args:
    z: [..., D], the encoder's vectors.
    codes: [..., D], their codes.
  """
  z, codes = checks.same_shape("straight_through", z, codes)
  return lax.stop_gradient(codes).astype(z.dtype) + (z - lax.stop_gradient(z))
