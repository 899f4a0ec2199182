"""3D convolutions over clips [B, T, H, W, C], and their lowering by platform."""

import jax
from jax import lax

_LAYOUT = ("NDHWC", "DHWIO", "NDHWC")

Triple = tuple[int, int, int]
Padding3D = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def conv3d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: Triple = (1, 1, 1),
  padding: Padding3D,
  groups: int = 1,
) -> jax.Array:
  """3D convolution: [B, T, H, W, I] -> [B, T', H', W', O].

  Args:
    x: [B, T, H, W, I].
    kernel: [kt, kh, kw, I / groups, O].
    stride: of T, H and W.
    padding: zeros before and after T, H and W.
    groups: parts of the channels that are convolved each on its own; I: depthwise.
  """
  return lax.conv_general_dilated(
    x, kernel, stride, padding, dimension_numbers=_LAYOUT, feature_group_count=groups
  )
