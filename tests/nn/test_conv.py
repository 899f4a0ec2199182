"""Convolutions: every lowering is the same function."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vqlab.nn import Conv, ConvTranspose
from vqlab.nn.conv import (
  conv,
  conv_on_cpu,
  conv_transpose,
  conv_transpose_by_phases,
  conv_transpose_by_sums,
)
from vqlab.nn.winograd import winograd

LAYOUT = ("NHWC", "HWIO", "NHWC")
WIDE = 64  # channels from which on CPUs take the ways of fewer products


def agree(functions, x, kernel, *, tolerance=1e-4):
  """Values and both gradients of all the functions are those of the first."""

  def value_and_grads(f):
    y, pullback = jax.vjp(f, x, kernel)
    weights = jax.random.normal(jax.random.key(2), y.shape, y.dtype)
    return y, *pullback(weights)

  expected, *found = (jax.jit(lambda f=f: value_and_grads(f))() for f in functions)
  for got in found:
    for a, b in zip(got, expected, strict=True):
      assert a.dtype == b.dtype
      a, b = (np.asarray(v, np.float64) for v in (a, b))
      np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, b.std()))


def data(size, channels, features, *, height=5, width=6, dtype=jnp.float32):
  x = jax.random.normal(jax.random.key(0), (2, height, width, channels), dtype)
  return x, jax.random.normal(jax.random.key(1), (*size, channels, features), dtype)


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 2), (2, 2), (5, 3), (3, 1), (1, 2)])
def test_lowerings_of_the_transposed_convolution_agree(size, stride):
  lowerings = (conv_transpose, conv_transpose_by_phases, conv_transpose_by_sums)
  functions = [lambda x, k, f=f: f(x, k, stride=stride) for f in lowerings]
  reference = lambda x, k: lax.conv_transpose(
    x, k, (stride, stride), "SAME", dimension_numbers=LAYOUT
  )
  agree([reference, *functions], *data((size, size), 3, 4))


@pytest.mark.parametrize("size", [(3, 3), (2, 2), (2, 3), (3, 5), (1, 3), (5, 1)])
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 1), (2, 0))])
def test_winograd_is_the_convolution(size, padding):
  reference = lambda x, k: lax.conv_general_dilated(x, k, (1, 1), padding, dimension_numbers=LAYOUT)
  agree([reference, lambda x, k: winograd(x, k, padding)], *data(size, 3, 4))


@pytest.mark.parametrize(
  ("size", "stride"), [(3, 1), (4, 2), (3, 2), (2, 1), (4, 1), (5, 1), (7, 3)]
)
@pytest.mark.parametrize("channels", [3, WIDE])
def test_lowerings_of_the_convolution_agree(size, stride, channels):
  reference = lambda x, k: lax.conv_general_dilated(
    x, k, (stride, stride), "SAME", dimension_numbers=LAYOUT
  )
  functions = [lambda x, k, f=f: f(x, k, stride=stride) for f in (conv, conv_on_cpu)]
  agree([reference, *functions], *data((size, size), channels, WIDE))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("bfloat16", 0.05)])
def test_other_precisions(x64, dtype, tolerance):
  x, kernel = data((3, 3), WIDE, WIDE, dtype=dtype)
  reference = lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=LAYOUT)
  agree([reference, conv], x, kernel, tolerance=tolerance)
  x, kernel = data((4, 4), WIDE, WIDE, dtype=dtype)
  reference = lambda x, k: lax.conv_transpose(x, k, (2, 2), "SAME", dimension_numbers=LAYOUT)
  agree([reference, lambda x, k: conv_transpose(x, k, stride=2)], x, kernel, tolerance=tolerance)


def test_over_several_kernels_at_once():
  x, kernel = data((3, 3), WIDE, WIDE)
  kernels = jnp.stack([kernel, 2 * kernel])
  found = jax.jit(jax.vmap(conv, in_axes=(None, 0)))(x, kernels)
  np.testing.assert_allclose(found, jnp.stack([conv(x, k) for k in kernels]), atol=1e-4)


@pytest.mark.parametrize(
  ("mine", "theirs"),
  [
    (ConvTranspose(5), nn.ConvTranspose(5, (4, 4), (2, 2))),
    (Conv(WIDE), nn.Conv(WIDE, (3, 3))),
    (Conv(WIDE, 4, 2), nn.Conv(WIDE, (4, 4), 2)),
  ],
)
def test_layers_are_linens(mine, theirs):
  x = jax.random.normal(jax.random.key(0), (2, 4, 4, WIDE))
  params = mine.init(jax.random.key(1), x)
  jax.tree.map(np.testing.assert_array_equal, theirs.init(jax.random.key(1), x), params)
  params["params"]["bias"] += 0.5
  np.testing.assert_allclose(mine.apply(params, x), theirs.apply(params, x), rtol=1e-4, atol=1e-5)
