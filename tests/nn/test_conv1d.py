"""Convolutions over time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.nn.conv1d import Conv1D


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (4, 2), (10, 5), (1, 1), (3, 2), (2, 3)])
def test_against_lax(size, stride, x64):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 23, 3)))
  model = Conv1D(4, size, stride, param_dtype=jnp.float64)
  params = model.init(jax.random.key(0), x)
  y = model.apply(params, x)
  outputs, front = -(-23 // stride), max(size - stride, 0) // 2
  back = max((outputs - 1) * stride + size - front - 23, 0)
  expected = jax.lax.conv_general_dilated(
    x,
    params["params"]["kernel"],
    (stride,),
    [(front, back)],
    dimension_numbers=("NWC", "WIO", "NWC"),
  )
  np.testing.assert_allclose(y, expected[:, :outputs], atol=1e-12)
  assert y.shape == (2, outputs, 4)


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (10, 5)])
def test_what_follows_changes_no_output_but_the_last(size, stride):
  x = jax.random.normal(jax.random.key(1), (1, 60, 2))
  model = Conv1D(3, size, stride)
  params = model.init(jax.random.key(0), x)
  y = model.apply(params, x)
  for more in range(1, stride + 1):
    longer = model.apply(params, jnp.pad(x, ((0, 0), (0, more), (0, 0)), constant_values=7.0))
    np.testing.assert_allclose(longer[:, : y.shape[1] - 1], y[:, :-1], rtol=1e-5, atol=1e-6)
