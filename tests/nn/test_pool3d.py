"""Max-pools over clips: XLA's own, values and gradients, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from vqlab.nn.pool3d import max_pool3d

NONE = ((0, 0), (0, 0), (0, 0))
ONE = ((1, 1), (1, 1), (1, 1))
WINDOWS = [
  ((3, 3, 3), (1, 1, 1), ONE),
  ((3, 3, 3), (2, 2, 2), ONE),
  ((1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (1, 1))),
  ((2, 2, 2), (2, 2, 2), NONE),
  ((3, 2, 3), (2, 3, 1), ((0, 1), (1, 0), (2, 0))),
  ((1, 2, 2), (2, 3, 4), NONE),
]


def plain(x, window, stride, padding):
  full = lambda values: (1, *values, 1)
  pads = ((0, 0), *padding, (0, 0))
  return lax.reduce_window(x, -np.inf, lax.max, full(window), full(stride), pads)


def mine(x, window, stride, padding):
  return max_pool3d(x, window, stride=stride, padding=padding)


def value_and_grad(f, x, *how):
  y, pullback = jax.vjp(lambda x: f(x, *how), x)
  dy = jax.random.normal(jax.random.key(1), y.shape).astype(y.dtype)
  return y, *pullback(dy), dy


def equal(x, *how):
  found, expected = (jax.jit(lambda f=f: value_and_grad(f, x, *how))() for f in (mine, plain))
  for a, b in zip(found, expected, strict=True):
    assert a.dtype == b.dtype == x.dtype
    a, b = (np.asarray(v, np.float64) for v in (a, b))
    tolerance = 0.05 if x.dtype == jnp.bfloat16 else 1e-6  # XLA sums in bfloat16
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
  return found


@pytest.mark.parametrize("how", WINDOWS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_is_the_pool(how, dtype):
  equal(jax.random.normal(jax.random.key(0), (2, 5, 7, 8, 3)).astype(dtype) - 5, *how)


@pytest.mark.parametrize("how", WINDOWS)
def test_ties_go_to_the_first(how):
  x = jnp.round(jax.random.normal(jax.random.key(0), (2, 6, 7, 8, 3)))
  _, dx, dy = equal(x, *how)
  np.testing.assert_allclose(jnp.sum(dx), jnp.sum(dy), rtol=1e-4, atol=1e-4)
  equal(jnp.zeros((1, 5, 6, 7, 1)), *how)


@pytest.mark.parametrize("how", WINDOWS)
def test_gradients_stay_inside_where_all_is_infinitely_small(how):
  _, dx, dy = value_and_grad(mine, jnp.full((1, 5, 7, 8, 1), -jnp.inf), *how)
  np.testing.assert_allclose(jnp.sum(dx), jnp.sum(dy), rtol=1e-4, atol=1e-4)


def test_double_precision_and_sharded_batch(x64):
  if jax.device_count() < 8:
    pytest.skip("needs 8 devices")
  x = jax.random.normal(jax.random.key(0), (8, 3, 5, 5, 2), jnp.float64)
  equal(x, *WINDOWS[0])
  f = lambda x: value_and_grad(mine, x, *WINDOWS[1])
  mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
  sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
  compiled = jax.jit(lambda x: f(x)[:2]).lower(sharded).compile()
  assert "all-gather" not in compiled.as_text()
  for a, b in zip(compiled(sharded), f(x)[:2], strict=True):
    np.testing.assert_allclose(a, b)
