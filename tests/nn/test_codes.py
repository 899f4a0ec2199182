"""A convolution over codes is one over their one-hot vectors."""

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.nn import CodeConv

B, H, W, K, F = 2, 3, 4, 5, 6
TAPS = ((-1, -1), (-1, 0), (-1, 1), (0, -1))


def test_lookups_equal_the_convolution_of_one_hot_vectors(x64):
  layer = CodeConv(K, F, TAPS, jnp.float64, jnp.float64)
  codes = jax.random.randint(jax.random.key(0), (B, H, W), 0, K, jnp.int32)
  params = layer.init(jax.random.key(1), codes)["params"]
  params["bias"] = jax.random.normal(jax.random.key(2), (F,), jnp.float64)
  kernel = np.zeros((3, 3, K, F))
  for (down, right), table in zip(TAPS, params["tables"], strict=True):
    kernel[1 + down, 1 + right] = table
  expected = jax.lax.conv_general_dilated(
    jax.nn.one_hot(codes, K, dtype=jnp.float64), jnp.asarray(kernel), (1, 1), "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )  # fmt: skip
  expected = np.array(expected + params["bias"])
  expected[:, 0, 0] = 0  # all of its taps are outside: nothing, not even the bias
  found = layer.apply({"params": params}, codes)
  np.testing.assert_allclose(found, expected, atol=1e-12)
  at = jax.jit(lambda *args: layer.apply({"params": params}, *args, method="at"))
  for i in range(H):
    row = at(codes, jnp.int32(i), jnp.arange(W, dtype=jnp.int32))
    np.testing.assert_allclose(row, expected[:, i], atol=1e-12)
