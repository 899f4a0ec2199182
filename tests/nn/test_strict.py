"""Strictly causal convolutions: by map, by row, by position; none reads its own position."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.nn import StrictCausalConvs, strict, strict_conv

L, B, H, W, C, F = 2, 2, 4, 5, 3, 4


def layers_and_input(k):
  layers = StrictCausalConvs(L, C, F, k, jnp.float64, jnp.float64)
  r = k // 2
  rng = np.random.default_rng(k)
  shapes = {"above": (L, 2 * r, k, C, F), "left": (L, r, C, F), "bias": (L, F)}
  params = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
  return layers, {"params": params}, jnp.asarray(rng.normal(size=(L, B, H, W, C)))


def whole(layers, variables, x):
  kernels = layers.apply(variables, method="kernels")
  return jnp.stack([strict_conv(map_, kernel) for map_, kernel in zip(x, kernels, strict=True)])


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("widest", [0, 256], ids=["convolutions", "product"])
def test_rows_and_positions_add_up_to_the_map(k, widest, monkeypatch, x64):
  monkeypatch.setattr(strict, "WIDEST_PRODUCT", widest)
  layers, variables, x = layers_and_input(k)
  r = k // 2
  rows = jnp.pad(x, ((0, 0), (0, 0), (2 * r, 0), (0, 0), (0, 0))).transpose(2, 3, 0, 1, 4)
  columns = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (r, 0), (0, 0))).transpose(2, 3, 0, 1, 4)
  row = jax.jit(lambda rows: layers.apply(variables, rows, method="row"))
  position = jax.jit(lambda window: layers.apply(variables, window, method="position"))
  expected = np.asarray(whole(layers, variables, x)).transpose(2, 3, 0, 1, 4)
  for i in range(H):
    above = row(rows[i : i + 2 * r])
    found = np.stack([above[j] + position(columns[i, j : j + r]) for j in range(W)])
    np.testing.assert_allclose(found, expected[i], atol=1e-12)


def test_an_output_reads_its_window_and_not_itself(x64):
  layers, variables, x = layers_and_input(3)
  ones = {name: jnp.ones_like(leaf) for name, leaf in variables["params"].items()}
  gradient = jax.jit(jax.grad(lambda x: whole(layers, {"params": ones}, x)[0, 0, 2, 2, 0]))(x)
  read = np.zeros((H, W))
  read[:2, 1:4], read[2, 1] = 1, 1
  np.testing.assert_array_equal(gradient[0, 0, ..., 0], read)
  assert not np.any(gradient[1]) and not np.any(gradient[:, 1])
