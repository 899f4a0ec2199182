"""3D convolutions over clips [B, T, H, W, C], and their lowering by platform.

XLA's CPU convolution over three dimensions runs at a quarter of the rate of its matrix products
where all channels meet, and at a hundredth where each is convolved on its own:
`vqlab/nn/conv3d_cpu.py` has forms of products and shifts instead, for the convolution and for each
of its two gradients. Accelerators have kernels of their own. All forms agree to rounding.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.nn import conv3d_cpu
from vqlab.nn.checks import windows_fit
from vqlab.nn.patches3d import Padding3D, Triple

_LAYOUT = ("NDHWC", "DHWIO", "NDHWC")


def conv3d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: Triple = (1, 1, 1),
  padding: Padding3D,
  groups: int = 1,
) -> jax.Array:
  """3D convolution: [B, T, H, W, I] -> [B, T', H', W', O].

  It keeps x and kernel for its gradients, no more, and has no forward-mode derivative.

  Args:
    x: [B, T, H, W, I].
    kernel: [kt, kh, kw, I / groups, O].
    stride: of T, H and W.
    padding: zeros before and after T, H and W.
    groups: parts of the channels that are convolved each on its own; I: depthwise.

  Raises:
    ValueError: the kernel is longer than the padded clip.
  """
  windows_fit("conv3d", x.shape[1:4], kernel.shape[:3], padding)
  # Under `shard_map` both vary over the same axes from here: what is shared sums its gradients.
  zero = lambda like, of: jnp.zeros_like(like, shape=(), dtype=of.dtype)
  x, kernel = x + zero(kernel, x), kernel + zero(x, kernel)
  return _conv(x, kernel, tuple(stride), tuple(map(tuple, padding)), groups)


# Within one `jit` for each shape all forms are traced once, however many layers have it.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
@partial(jax.jit, static_argnums=(2, 3, 4))
def _conv(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D, groups: int
) -> jax.Array:
  on_cpu = partial(conv3d_cpu.convolve, stride=stride, padding=padding, groups=groups)
  default = _plain(stride, padding, groups)
  return lax.platform_dependent(x, kernel, cpu=on_cpu, default=default)


def _forward(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3D, groups: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _conv(x, kernel, stride, padding, groups), (x, kernel)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _backward(
  stride: Triple,
  padding: Padding3D,
  groups: int,
  kept: tuple[jax.Array, jax.Array],
  dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Two computations that share nothing, so that the one nobody needs goes."""
  x, kernel = kept
  plain = _plain(stride, padding, groups)
  how = {"stride": stride, "padding": padding, "groups": groups}
  dx = lax.platform_dependent(
    dy,
    kernel,
    cpu=lambda dy, kernel: conv3d_cpu.input_gradient(dy, kernel, size=x.shape[1:4], **how),
    default=lambda dy, kernel: jax.linear_transpose(lambda x: plain(x, kernel), x)(dy)[0],
  )
  dkernel = lax.platform_dependent(
    x,
    dy,
    cpu=lambda x, dy: conv3d_cpu.kernel_gradient(x, dy, size=kernel.shape[:3], **how),
    default=lambda x, dy: jax.linear_transpose(lambda kernel: plain(x, kernel), kernel)(dy)[0],
  )
  return dx, dkernel


_conv.defvjp(_forward, _backward)


def _plain(
  stride: Triple, padding: Padding3D, groups: int
) -> Callable[[jax.Array, jax.Array], jax.Array]:
  return lambda x, kernel: lax.conv_general_dilated(
    x, kernel, stride, padding, dimension_numbers=_LAYOUT, feature_group_count=groups
  )
