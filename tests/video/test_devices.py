"""Training on one device and on eight, by jit and by pmap, is the same."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vqlab import video

STEPS, BATCH, DEVICES = 5, 8, 8


@pytest.fixture(scope="module")
def small():
  """A small SlowFast in double precision, its variables and five batches."""
  with jax.enable_x64(True):
    model = video.create(
      "slowfast_8x8_r50",
      3,
      width=4,
      beta=2,
      depths=(1, 1),
      strides=((1, 1, 1), (1, 2, 2)),
      slow_temporal=((1,), (3,)),
      fast_temporal=((3,), (3,)),
      fusion_size=3,
      dropout=0.5,
      zero_init=False,
      dtype=jnp.float64,
      param_dtype=jnp.float64,
    )
    rng = np.random.default_rng(0)
    clips = rng.standard_normal((STEPS, BATCH, 8, 16, 16, 3))
    labels = rng.integers(3, size=(STEPS, BATCH))
    return model, jax.jit(model.init)(jax.random.key(0), clips[0, :1]), clips, labels


def training_step(model, optimizer, axis_name=None):
  def step(state, clip, label, rows):
    params, batch_stats, opt_state = state

    def loss(params):
      logits, updates = model.apply(
        {"params": params, "batch_stats": batch_stats},
        clip,
        train=True,
        axis_name=axis_name,
        rows=rows,
        rngs={"dropout": jax.random.key(1)},
        mutable=["batch_stats"],
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
      return losses.sum() / BATCH, updates["batch_stats"]

    gradients, batch_stats = jax.grad(loss, has_aux=True)(params)
    if axis_name:
      gradients = jax.lax.psum(gradients, axis_name)
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), batch_stats, opt_state

  return step


def trained(small, how):
  model, variables, clips, labels = small
  optimizer = optax.sgd(0.1, momentum=0.9, nesterov=True)
  rows = jnp.arange(BATCH)
  state = variables["params"], variables["batch_stats"], optimizer.init(variables["params"])
  if how == "pmap":
    step = jax.pmap(training_step(model, optimizer, "batch"), axis_name="batch")
    state = jax.tree.map(lambda x: jnp.stack([x] * DEVICES), state)
    clips = clips.reshape(STEPS, DEVICES, -1, *clips.shape[2:])
    labels, rows = labels.reshape(STEPS, DEVICES, -1), rows.reshape(DEVICES, -1)
  else:
    step = jax.jit(training_step(model, optimizer))
    if how == "jit":
      mesh = jax.make_mesh((DEVICES,), ("batch",), axis_types=(AxisType.Auto,))
      over, all_of_it = (
        NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((None, "batch"), ())
      )
      state = jax.device_put(state, all_of_it)
      clips, labels = (jax.device_put(jnp.asarray(a), over) for a in (clips, labels))
      rows = jax.device_put(rows, NamedSharding(mesh, PartitionSpec("batch")))
  for clip, label in zip(clips, labels, strict=True):
    state = step(state, clip, label, rows)
  return jax.tree.map(lambda x: np.asarray(x)[0] if how == "pmap" else np.asarray(x), state[:2])


@pytest.mark.slow
def test_devices_and_ways_to_compile_agree(small, x64):
  if jax.device_count() < DEVICES:
    pytest.skip(f"needs {DEVICES} devices")
  one = trained(small, "one device")
  before = small[1]["params"]
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one[0], before)
  assert min(jax.tree.leaves(moved)) > 1e-6
  for how in ("jit", "pmap"):
    found = trained(small, how)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(one), strict=True):
      assert a.dtype == np.float64
      np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
