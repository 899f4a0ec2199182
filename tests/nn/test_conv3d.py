"""3D convolutions: every form is the plain one, values and both gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from vqlab.nn.conv3d import conv3d
from vqlab.nn.conv3d_layers import ConvNorm

LAYOUT = ("NDHWC", "DHWIO", "NDHWC")
NONE = ((0, 0), (0, 0), (0, 0))
ONE = ((1, 1), (1, 1), (1, 1))


def plain(x, kernel, stride, padding, groups):
  return lax.conv_general_dilated(
    x, kernel, stride, padding, dimension_numbers=LAYOUT, feature_group_count=groups
  )


def mine(x, kernel, stride, padding, groups):
  return conv3d(x, kernel, stride=stride, padding=padding, groups=groups)


def agree(x, kernel, stride=(1, 1, 1), padding=ONE, groups=1, *, tolerance=3e-5):
  """Values and both gradients are those of the plain convolution."""

  def value_and_grads(f):
    y, pullback = jax.vjp(lambda x, kernel: f(x, kernel, stride, padding, groups), x, kernel)
    return y, *pullback(jax.random.normal(jax.random.key(2), y.shape, y.dtype))

  found, expected = (jax.jit(lambda f=f: value_and_grads(f))() for f in (mine, plain))
  for a, b in zip(found, expected, strict=True):
    assert a.dtype == b.dtype == x.dtype
    a, b = (np.asarray(v, np.float64) for v in (a, b))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, b.std()))


def data(shape, size, features, *, groups=1, dtype=jnp.float32):
  x = jax.random.normal(jax.random.key(0), shape, dtype)
  inputs = shape[-1] // groups
  return x, jax.random.normal(jax.random.key(1), (*size, inputs, features), dtype)


def choose(monkeypatch, name, value):
  monkeypatch.setattr(name, value)
  jax.clear_caches()  # a shape is traced once


@pytest.mark.parametrize(
  ("size", "stride", "padding"),
  [
    ((3, 3, 3), (1, 1, 1), ONE),
    ((3, 3, 3), (2, 2, 2), ONE),
    ((2, 3, 4), (1, 2, 3), ((0, 1), (2, 0), (1, 3))),
    ((1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (1, 1))),
    ((3, 1, 1), (1, 1, 1), ((1, 1), (0, 0), (0, 0))),
    ((5, 1, 1), (2, 1, 2), ((3, 1), (0, 1), (1, 0))),
    ((1, 1, 1), (1, 1, 1), NONE),
    ((1, 1, 1), (2, 2, 3), ((0, 0), (1, 0), (0, 1))),
    ((2, 2, 2), (3, 3, 2), ((3, 0), (0, 2), (1, 1))),
    ((3, 7, 7), (1, 2, 2), ((1, 1), (3, 3), (3, 3))),
  ],
)
@pytest.mark.parametrize("channels", [3, 16])
def test_dense(size, stride, padding, channels):
  agree(*data((2, 5, 9, 7, channels), size, 5), stride, padding)


@pytest.mark.parametrize("channels", [3, 8])
def test_few_channels_to_some(channels):
  agree(*data((2, 3, 9, 7, channels), (1, 3, 3), 24), (1, 2, 2), ((0, 0), (1, 1), (1, 1)))


@pytest.mark.parametrize("size", [(3, 3, 3), (1, 3, 3), (2, 3, 3)])
@pytest.mark.parametrize("padding", [ONE, ((0, 2), (2, 0), (0, 1))])
def test_fewer_products(size, padding, monkeypatch):
  choose(monkeypatch, "vqlab.nn.conv3d_cpu._MANY", 0)
  agree(*data((2, 4, 6, 9, 32), size, 33), padding=padding)


def test_blocks_of_patches(monkeypatch):
  choose(monkeypatch, "vqlab.nn.patches3d._NUMBERS", 1)
  for rows in (1, 2 * 7 * 3, 2 * 7 * 6 * 2):  # rows, several rows, several frames
    choose(monkeypatch, "vqlab.nn.patches3d._ROWS", rows)
    agree(*data((2, 4, 6, 7, 16), (3, 3, 3), 5))


@pytest.mark.parametrize("frames", [3, 4])  # one by one, by pairs
def test_blocks_of_tiles(frames, monkeypatch):
  choose(monkeypatch, "vqlab.nn.conv3d_cpu._MANY", 0)
  choose(monkeypatch, "vqlab.nn.winograd3d._NUMBERS", 1)
  choose(monkeypatch, "vqlab.nn.winograd3d._PAIR_NUMBERS", 1)
  agree(*data((2, frames, 6, 7, 32), (3, 3, 3), 32))


@pytest.mark.parametrize("features", [5, 24])
def test_blocks_of_rows(features, monkeypatch):
  choose(monkeypatch, "vqlab.nn.narrow3d._NUMBERS", 1)
  agree(*data((2, 5, 9, 7, 3), (3, 7, 7), features), (1, 2, 2), ((1, 1), (3, 3), (3, 3)))


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 3, 1)])
@pytest.mark.parametrize("padding", [ONE, ((0, 2), (2, 0), (1, 0))])
@pytest.mark.parametrize(("groups", "features"), [(6, 6), (6, 12), (2, 4)])
def test_groups(stride, padding, groups, features):
  arrays = data((2, 5, 7, 6, 6), (3, 3, 2), features, groups=groups)
  agree(*arrays, stride, padding, groups)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("bfloat16", 0.02)])
def test_other_precisions(x64, dtype, tolerance, monkeypatch):
  choose(monkeypatch, "vqlab.nn.conv3d_cpu._MANY", 0)
  agree(*data((2, 3, 5, 6, 32), (3, 3, 3), 32, dtype=dtype), tolerance=tolerance)
  agree(*data((2, 3, 5, 6, 4), (3, 3, 3), 5, dtype=dtype), (1, 2, 2), tolerance=tolerance)
  arrays = data((2, 3, 5, 6, 4), (3, 3, 3), 4, groups=4, dtype=dtype)
  agree(*arrays, groups=4, tolerance=tolerance)


def test_mapped_over_kernels_and_rematerialized():
  x, kernel = data((2, 3, 5, 6, 4), (3, 3, 3), 16)
  kernels = jnp.stack([kernel, 2 * kernel])
  f = jax.checkpoint(lambda x, kernel: jnp.sum(jnp.sin(conv3d(x, kernel, padding=ONE))))
  found = jax.jit(jax.vmap(jax.grad(f, (0, 1)), (None, 0)))(x, kernels)
  for i, kernel in enumerate(kernels):
    for a, b in zip(found, jax.grad(f, (0, 1))(x, kernel), strict=True):
      np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-4 * float(b.std()))


def test_gradients_nobody_needs_are_not_computed():
  x, kernel = data((1, 4, 8, 8, 16), (3, 3, 3), 16)
  loss = lambda x, kernel: jnp.sum(conv3d(x, kernel, padding=ONE) ** 2)
  flops = lambda wrt: (
    jax.jit(jax.grad(loss, wrt)).lower(x, kernel).compile().cost_analysis()["flops"]
  )
  both, one = flops((0, 1)), flops(1)
  assert one < 0.8 * both


@pytest.mark.parametrize("size", [(1, 3, 3), (3, 1, 1)])
def test_training_keeps_a_convolution_and_what_it_reads(size):
  """Of each layer two arrays, on CPUs, and of one layer what its gradient needs for the moment."""
  layers, x = 8, jax.random.normal(jax.random.key(0), (1, 8, 32, 32, 32))
  layer = ConvNorm(32, size)
  variables = layer.init(jax.random.key(0), x, train=False)
  stacked = jax.tree.map(lambda a: jnp.stack([a] * layers), variables)

  def loss(params):
    y = x
    for i in range(layers):
      one = {"params": jax.tree.map(lambda a, i=i: a[i], params)}
      one["batch_stats"] = variables["batch_stats"]
      y = jax.nn.relu(layer.apply(one, y, train=True, mutable=["batch_stats"])[0])
    return jnp.sum(y**2)

  compiled = jax.jit(jax.grad(loss)).lower(stacked["params"]).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < (2 * layers + 8) * x.nbytes


@pytest.mark.parametrize(
  ("size", "stride", "groups"),
  [((3, 3, 3), (1, 1, 1), 1), ((3, 3, 3), (2, 2, 2), 1), ((3, 3, 3), (1, 2, 2), 32)],
)
def test_sharded_batch(size, stride, groups, monkeypatch):
  """Many devices are one, and none of them sees the clips of another."""
  if jax.device_count() < 8:
    pytest.skip("needs 8 devices")
  choose(monkeypatch, "vqlab.nn.conv3d_cpu._MANY", 0)
  x, kernel = data((8, 4, 6, 7, 32), size, 32, groups=groups)

  def value_and_grads(x, kernel):
    y, pullback = jax.vjp(lambda x, kernel: mine(x, kernel, stride, ONE, groups), x, kernel)
    return y, *pullback(jnp.sin(y))

  expected = jax.jit(value_and_grads)(x, kernel)
  mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
  x = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
  kernel = jax.device_put(kernel, NamedSharding(mesh, PartitionSpec()))
  compiled = jax.jit(value_and_grads).lower(x, kernel).compile()
  assert "all-gather" not in compiled.as_text()
  summed = jax.shard_map(
    value_and_grads,
    mesh=mesh,
    in_specs=(PartitionSpec("batch"), PartitionSpec()),
    out_specs=(PartitionSpec("batch"), PartitionSpec("batch"), PartitionSpec()),
  )
  for found in (compiled(x, kernel), jax.jit(summed)(x, kernel)):
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.std()))
