"""Products over the last axis, taken over rows: XLA's CPU has faster gradients for that.

Over [..., C] a kernel's gradient contracts all the leading axes at once. XLA's CPU then transposes
one operand for it and leaves its fast product: a Dense of [8, 32, 32, 128] -> 512 with gradients
took 91 ms on a core, over rows 39 ms. The results are the same, there and elsewhere.
"""

from functools import partial

import flax.linen as nn
import jax
from jax import lax


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """[..., C] and [C, F] -> [..., F]."""
  return _over_rows(x, kernel)


def _over_rows(
  x: jax.Array,
  kernel: jax.Array,
  dimension_numbers: lax.DotDimensionNumbers | None = None,
  **options,
) -> jax.Array:
  del dimension_numbers  # Dense asks for the last axis of x and the first of the kernel
  rows = lax.dot_general(x.reshape(-1, x.shape[-1]), kernel, (((1,), (0,)), ((), ())), **options)
  return rows.reshape(*x.shape[:-1], kernel.shape[-1])


# Linen's own, its parameters too.
Dense = partial(nn.Dense, dot_general=_over_rows)
