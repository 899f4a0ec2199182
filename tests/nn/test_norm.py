"""BatchNorm is Flax's, but for a mapped axis that the call names, and masks over devices.

LayerNorm is Flax's, but for strict promotion of dtypes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from vqlab.nn import BatchNorm, LayerNorm


def batch(shape=(8, 3, 4, 5), dtype=jnp.float32):
  keys = jax.random.split(jax.random.key(0), 6)
  normal = lambda i, shape: jax.random.normal(keys[i], shape, dtype)
  params = {"scale": 1 + normal(0, shape[-1:]) / 3, "bias": normal(1, shape[-1:])}
  stats = {"mean": normal(2, shape[-1:]), "var": 0.5 + normal(3, shape[-1:]) ** 2}
  variables = {"params": params, "batch_stats": stats}
  return variables, 2 * normal(4, shape) + 1, normal(5, shape)


def run(apply, variables, x, towards):
  """Values, running statistics, and the gradients of params and x."""

  def loss(params, x):
    y, changed = apply(variables | {"params": params}, x)
    return jnp.sum(jnp.sin(y) * towards), (y, changed)

  return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], x)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(8, 3, 4, 5), (16, 5)])
def test_equals_flax(train, shape):
  variables, x, towards = batch(shape)
  ours, theirs = BatchNorm(), nn.BatchNorm(momentum=0.9)
  mutable = ["batch_stats"] if train else []
  found, expected = (
    jax.jit(lambda v, x, t, f=f: run(lambda v, x: f(v, x), v, x, t))(variables, x, towards)
    for f in (
      lambda v, x: ours.apply(v, x, train=train, mutable=mutable),
      lambda v, x: theirs.apply(v, x, not train, mutable=mutable),
    )
  )
  assert found[0][1][1].keys() == set(mutable)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), found, expected)
  made = [ours.init(jax.random.key(0), x, train=train, axis_name="data")]
  made.append(theirs.init(jax.random.key(0), x, not train))
  jax.tree.map(np.testing.assert_array_equal, *made)


def test_derivatives_both_ways(x64):
  """Of y and of the running statistics; and in float32 where the mean is 30 deviations."""
  variables, x, towards = batch(dtype=jnp.float64)
  norm = BatchNorm(dtype=jnp.float64, param_dtype=jnp.float64)

  def f(params, x):
    y, changed = norm.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
    return jnp.sum(jnp.sin(y) * towards), changed["batch_stats"]

  jax.test_util.check_grads(f, (variables["params"], x), order=2, modes=("fwd", "rev"))

  def far(dtype):
    cast = lambda tree: jax.tree.map(lambda a: a.astype(dtype), tree)
    norm = BatchNorm(dtype=dtype, param_dtype=dtype)

    def loss(x):
      y, _ = norm.apply(cast(variables), x, train=True, mutable=["batch_stats"])
      return jnp.sum(y.astype(jnp.float64) * towards)

    return jax.grad(loss)((x + 60).astype(jnp.float32).astype(dtype))

  found, exact = far(jnp.float32), far(jnp.float64)
  np.testing.assert_allclose(found, exact, atol=2e-3 * float(exact.std()))


@pytest.mark.parametrize("masked", [False, True])
def test_devices_equal_one_with_the_whole_batch(x64, masked):
  """In float64. With a mask, devices have 0, 1 or 2 examples that count, and NaN elsewhere."""
  if jax.device_count() < 4:
    pytest.skip("needs 4 devices")
  variables, x, towards = batch(dtype=jnp.float64)
  norm = BatchNorm(dtype=jnp.float64, param_dtype=jnp.float64)
  mask = jnp.array([True, True, False, False, False, True, True, False])
  counts = mask if masked else jnp.ones(8, bool)
  towards = jnp.where(counts[:, None, None, None], towards, 0)

  def of(x, towards, mask, axis_name=None):
    apply = lambda v, x: norm.apply(
      v, x, train=True, axis_name=axis_name, mask=mask, mutable=["batch_stats"]
    )
    (loss, (y, stats)), (grads, dx) = run(apply, variables, x, towards)
    if axis_name:
      loss, grads = jax.lax.psum((loss, grads), axis_name)
    return loss, y, stats, grads, dx

  kept = np.flatnonzero(counts)
  loss, y, stats, grads, dx = of(x[kept], towards[kept], None)
  noisy = jnp.where(counts[:, None, None, None], x, jnp.nan)
  shard = lambda a: a.reshape(4, 2, *a.shape[1:])
  mapped = jax.pmap(
    lambda x, t, m: of(x, t, m if masked else None, "data"), "data", devices=jax.devices()[:4]
  )
  found = mapped(shard(noisy), shard(towards), shard(counts))
  merged = lambda a: a.reshape(8, *a.shape[2:])
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
  for device in range(4):
    one = lambda a, d=device: a[d]
    jax.tree.map(close, jax.tree.map(one, (found[0], found[2], found[3])), (loss, stats, grads))
  close(merged(found[1])[kept], y)
  close(merged(found[4])[kept], dx)
  assert not np.any(np.delete(merged(found[4]), kept, axis=0))


def test_bfloat16_keeps_float32_statistics_and_a_mask_is_checked():
  variables, x, _ = batch()
  norm = BatchNorm(dtype=jnp.bfloat16)
  y, changed = norm.apply(variables, x.astype(jnp.bfloat16), train=True, mutable=["batch_stats"])
  exact, _ = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
  assert y.dtype == jnp.bfloat16 and changed["batch_stats"]["var"].dtype == jnp.float32
  np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.05)
  for mask in (jnp.ones(8), jnp.ones(7, bool)):
    with pytest.raises(ValueError, match="mask must be bool over leading axes"):
      norm.apply(variables, x, train=False, mask=mask)


def test_layer_norm_equals_flax_and_keeps_dtypes(x64):
  rng = np.random.default_rng(0)
  x, scale, bias = (jnp.asarray(rng.standard_normal(shape)) for shape in ((4, 3, 6), 6, 6))
  variables = {"params": {"scale": scale, "bias": bias}}
  double = LayerNorm(dtype=jnp.float64, param_dtype=jnp.float64)
  with jax.numpy_dtype_promotion("standard"):
    expected = nn.LayerNorm(dtype=jnp.float64, param_dtype=jnp.float64).apply(variables, x)
  np.testing.assert_allclose(double.apply(variables, x), expected, atol=1e-12)
  half = LayerNorm(dtype=jnp.bfloat16)
  found, made = half.init_with_output(jax.random.key(0), x.astype(jnp.bfloat16))
  assert found.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}
