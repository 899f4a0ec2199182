"""Causal convolutions: a masked convolution without the mask, by map, by row and by position."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.nn.causal import CausalConv, shift_down, shift_right

B, H, W, C, F = 2, 4, 5, 3, 4
WINDOWS = {
  "vertical": {"above": 1, "left": 2, "right": 2},
  "horizontal": {"left": 2},
  "down-right": {"above": 2, "left": 1},
  "1x1": {},
}


def layer_and_input(window, **fields):
  layer = CausalConv(F, **window, param_dtype=jnp.float64, **fields)
  x = jax.random.normal(jax.random.key(0), (B, H, W, C), jnp.float64)
  variables = layer.init(jax.random.key(1), x)
  bias = jax.random.normal(jax.random.key(2), (F,), jnp.float64)
  return layer, {"params": {**variables["params"], "bias": bias}}, x


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_equals_a_masked_convolution(window, x64):
  layer, variables, x = layer_and_input(window)
  # The same taps inside a 5x5 kernel centred on the output, zeros elsewhere.
  centred = np.zeros((5, 5, C, F))
  above, left, right = layer.above, layer.left, layer.right
  centred[2 - above : 3, 2 - left : 3 + right] = variables["params"]["kernel"]
  expected = jax.lax.conv_general_dilated(
    x, jnp.asarray(centred), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  expected = expected + variables["params"]["bias"]
  np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-12)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_a_row_and_a_position_equal_the_map(window, x64):
  layer, variables, x = layer_and_input(window)
  expected = layer.apply(variables, x)
  padded = jnp.pad(x, ((0, 0), (layer.above, 0), (layer.left, layer.right), (0, 0)))
  rows, columns = layer.window
  for i in range(H):
    inputs = padded[:, i : i + rows, layer.left : layer.left + W]
    row = layer.apply(variables, inputs, method="row")
    np.testing.assert_allclose(row, expected[:, i], atol=1e-12)
    for j in range(0, W, 2):
      inputs = padded[:, i : i + rows, j : j + columns]
      position = layer.apply(variables, inputs, method="position")
      np.testing.assert_allclose(position, expected[:, i, j], atol=1e-12)


def test_many_channels(x64):
  wide = 64  # taken by fewer products on CPU
  layer = CausalConv(wide, above=2, left=2, right=2, param_dtype=jnp.float64)
  x = jax.random.normal(jax.random.key(0), (B, H, W, wide), jnp.float64)
  variables = layer.init(jax.random.key(1), x)
  found = layer.apply(variables, x)
  padded = jnp.pad(x, ((0, 0), (2, 0), (2, 2), (0, 0)))
  for i in range(H):
    row = layer.apply(variables, padded[:, i : i + 3, 2:-2], method="row")
    np.testing.assert_allclose(row, found[:, i], atol=1e-12)
    position = layer.apply(variables, padded[:, i : i + 3, :5], method="position")
    np.testing.assert_allclose(position, found[:, i, 0], atol=1e-12)


def test_shifts():
  x = jnp.arange(6.0).reshape(1, 2, 3, 1)
  np.testing.assert_array_equal(shift_down(x)[0, ..., 0], [[0, 0, 0], [0, 1, 2]])
  np.testing.assert_array_equal(shift_right(x)[0, ..., 0], [[0, 0, 1], [0, 3, 4]])


def test_dtypes():
  layer = CausalConv(F, above=1, left=1, dtype=jnp.bfloat16)
  x = jnp.ones((B, H, W, C))
  variables = layer.init(jax.random.key(0), x)
  assert variables["params"]["kernel"].dtype == jnp.float32
  assert layer.apply(variables, x).dtype == jnp.bfloat16


def test_a_wrong_window_is_refused():
  layer = CausalConv(F, above=1, left=1)
  with pytest.raises(ValueError, match=r"reads 2 rows on axis 1.*found shape \(2, 4, 5, 3\)"):
    layer.init(jax.random.key(0), jnp.ones((B, H, W, C)), method="row")
  with pytest.raises(ValueError, match="reads 2 columns on axis 2"):
    layer.init(jax.random.key(0), jnp.ones((B, 2, W, C)), method="position")
