"""Causal 2D convolutions and the shifts that go with them.

A causal convolution reads a window of its input that ends at the output's own row, and, where it
reads nothing to the right, at its own position:

    vertical stack      above=r, left=r, right=r     rows i-r..i,  columns j-r..j+r
    horizontal stack    left=r                       row  i,       columns j-r..j
    down-right          above=r, left=r              rows i-r..i,  columns j-r..j

It is made causal by padding alone, so no weight is ever masked and none is wasted. All windows
include the output's own position: to leave it out, shift the input (`shift_down`, `shift_right`).

The same weights apply to a whole map, to one row and to one position, so that a model that is
sampled with a cache computes what it computed in training.

Letters: B batch, H W space, C channels in, F features out.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from vqlab.nn.conv import conv_padded


def shift_down(x: jax.Array) -> jax.Array:
  """Moves the maps [B, H, W, C] down one row: row i holds what was in row i-1, row 0 zeros."""
  return jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))


def shift_right(x: jax.Array) -> jax.Array:
  """Moves the maps [B, H, W, C] right one column: column j holds column j-1, column 0 zeros."""
  return jnp.pad(x[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))


class CausalConv(nn.Module):
  """A convolution over rows i-above..i and columns j-left..j+right; zeros outside the map.

  Attributes:
    features: F, the number of output channels.
    above: rows read above the output's row.
    left: columns read to the left of the output's column.
    right: columns read to the right of it, also in the output's own row: with `right > 0` the
      result is causal only over an input that was shifted down.
    use_bias: whether to add a bias.
    dtype: compute dtype; None promotes that of the input and the parameters.
    param_dtype: dtype of the parameters.
  """

  features: int
  above: int = 0
  left: int = 0
  right: int = 0
  use_bias: bool = True
  dtype: DTypeLike | None = None
  param_dtype: DTypeLike = jnp.float32
  kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

  @property
  def window(self) -> tuple[int, int]:
    """Rows and columns of the input that one output reads."""
    return self.above + 1, self.left + 1 + self.right

  def __call__(self, x: jax.Array) -> jax.Array:
    """The whole map: [B, H, W, C] -> [B, H, W, F]."""
    return self._convolve(x, rows_above=self.above)

  def row(self, rows: jax.Array) -> jax.Array:
    """The last row alone: input rows i-above..i, [B, above+1, W, C] -> output row i, [B, W, F]."""
    self._check(rows, 1, self.window[0], "rows")
    return self._convolve(rows, rows_above=0)[:, 0]

  def position(self, window: jax.Array) -> jax.Array:
    """One position, as one matrix product: its window [B, above+1, left+1+right, C] -> [B, F]."""
    self._check(window, 1, self.window[0], "rows")
    self._check(window, 2, self.window[1], "columns")
    x, kernel, bias = self._promoted(window)
    y = x.reshape(x.shape[0], -1) @ kernel.reshape(-1, self.features)
    return y if bias is None else y + bias

  def _convolve(self, x: jax.Array, *, rows_above: int) -> jax.Array:
    x, kernel, bias = self._promoted(x)
    padding = ((rows_above, 0), (self.left, self.right))
    y = conv_padded(x, kernel, padding)
    return y if bias is None else y + bias

  @nn.compact
  def _promoted(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Input, kernel [above+1, left+1+right, C, F] and bias [F], all in the compute dtype."""
    shape = (*self.window, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    bias = None
    if self.use_bias:
      bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
    return promote_dtype(x, kernel, bias, dtype=self.dtype)

  def _check(self, x: jax.Array, axis: int, size: int, what: str) -> None:
    if x.ndim != 4 or x.shape[axis] != size:
      raise ValueError(
        f"this causal convolution reads {size} {what} on axis {axis} of a rank-4 input; "
        f"found shape {x.shape}"
      )
