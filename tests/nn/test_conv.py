"""Convolutions: every lowering is the same function."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vqlab.nn import ConvTranspose
from vqlab.nn.conv import conv_transpose, conv_transpose_by_phases


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 2), (2, 2), (5, 3), (3, 1), (1, 2)])
def test_lowerings_of_the_transposed_convolution_agree(size, stride):
  x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
  kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 4))
  weights = jax.random.normal(jax.random.key(2), (2, 5 * stride, 6 * stride, 4))

  def value_and_grads(f):
    y, pullback = jax.vjp(f, x, kernel)
    return y, *pullback(weights)

  expected = value_and_grads(
    lambda x, k: lax.conv_transpose(
      x, k, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
  )
  for f in (conv_transpose, conv_transpose_by_phases):
    got = value_and_grads(lambda x, k, f=f: f(x, k, stride=stride))
    for a, b in zip(got, expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_conv_transpose_layer_is_linens():
  x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
  params = ConvTranspose(5).init(jax.random.key(1), x)
  theirs = nn.ConvTranspose(5, (4, 4), (2, 2))
  shapes = lambda tree: jax.tree.map(jnp.shape, tree)
  assert shapes(theirs.init(jax.random.key(1), x)) == shapes(params)
  params["params"]["bias"] += 0.5
  np.testing.assert_allclose(
    ConvTranspose(5).apply(params, x), theirs.apply(params, x), rtol=1e-4, atol=1e-5
  )
