"""Networks for clips: their shapes, heads, features and errors, at small widths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vqlab import video
from vqlab.nn.conv3d_layers import padding_of
from vqlab.video.layers import mean_of_windows

# A small network of each class, and the least of clips that show its stages.
SMALL = {
  "c3d": ({"widths": ((2,), (3,), (4, 4), (4, 4), (4, 4)), "hidden": (8, 8)}, (16, 32, 32)),
  "r3d_18": ({"width": 2, "depths": (1, 1, 1, 1)}, (8, 32, 32)),
  "r2plus1d_18": ({"width": 2, "depths": (1, 2, 1, 1), "stem_middle": 3}, (8, 32, 32)),
  "resnet3d_50": ({"width": 2, "depths": (1, 1, 1, 1)}, (8, 32, 32)),
  "i3d_r50": ({"width": 2, "depths": (1, 2, 1, 1), "pool": (1, 1, 1)}, (4, 32, 32)),
  "r2plus1d_r50": ({"width": 2, "depths": (1, 1, 1, 1)}, (8, 32, 32)),
  "t3d_121": ({"depths": (1, 1, 1, 1), "growth": 2, "stem_width": 4, "ttl_width": 2}, (16, 32, 32)),
  "i3d": ({"width": 0.03, "pool": (1, 1, 1)}, (8, 32, 32)),
  "s3d_g": ({"width": 0.03, "pool": (1, 1, 1)}, (8, 32, 32)),
  "slowfast_8x8_r50": (
    {"width": 8, "beta": 4, "depths": (1, 1, 1, 1), "pool": (1, 1)},
    (8, 32, 32),
  ),
  "x3d_s": (
    {
      "stem_width": 4,
      "widths": (4, 8, 8, 8),
      "depths": (1, 2, 1, 1),
      "hidden": 16,
      "pool": (1, 1, 1),
    },
    (4, 32, 32),
  ),
}


def small(name, **fields):
  """A small network, its variables' shapes, and a clip's shape."""
  settings, size = SMALL[name]
  model = video.create(name, 5, **settings | fields)
  clip = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
  return model, jax.eval_shape(model.init, jax.random.key(0), clip), clip


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_one_call_and_give_features_of_every_stage(name):
  model, variables, clip = small(name)
  found = jax.eval_shape(lambda v, x: model.apply(v, x, features=True), variables, clip)
  assert isinstance(found, video.Features)
  assert found.logits.shape == (2, 5) and found.pooled.shape[0] == 2 and found.pooled.ndim == 2
  assert len(found.stages) == {"i3d": 4, "s3d_g": 4, "t3d_121": 6, "x3d_s": 6}.get(name, 5)
  first, *_, last = jax.tree.leaves(found.stages)
  assert first.ndim == last.ndim == 5
  assert jax.eval_shape(model.apply, variables, clip).shape == (2, 5)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "c3d"])
def test_types_are_those_of_the_fields(name):
  model, variables, clip = small(name, dtype=jnp.bfloat16)
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
  call = lambda v, x: model.apply(
    v,
    x,
    train=True,
    features=True,
    rngs={"dropout": jax.random.key(0)},
    mutable=["batch_stats"],
  )
  found, updates = jax.eval_shape(call, variables, clip)
  assert found.logits.dtype == found.pooled.dtype == jnp.float32
  assert {leaf.dtype for leaf in jax.tree.leaves(found.stages)} == {jnp.dtype(jnp.bfloat16)}
  assert jax.tree.map(lambda a: (a.shape, a.dtype), updates["batch_stats"]) == jax.tree.map(
    lambda a: (a.shape, a.dtype), variables["batch_stats"]
  )


@pytest.mark.parametrize("name", ["x3d_s", "slowfast_8x8_r50"])
def test_the_mean_of_a_dense_head_is_the_global_one(name):
  model, _, clip = small(name)
  x = jax.random.normal(jax.random.key(1), (1, clip.shape[1], 64, 64, 3))
  variables = jax.jit(model.init)(jax.random.key(0), x)
  both = jax.jit(
    lambda v, x: (model.apply(v, x), model.clone(head="dense").apply(v, x, features=True))
  )
  logits, dense = both(variables, x)
  assert dense.logits.shape[1:] == (1 if "slow" in name else clip.shape[1], 2, 2, 5)
  assert dense.pooled.shape[:4] == dense.logits.shape[:4]
  np.testing.assert_allclose(logits, dense.logits.mean((1, 2, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["x3d_s", "slowfast_8x8_r50"])
def test_heads_of_several_windows_have_gradients_under_jit(name):
  model, variables, clip = small(name)
  clip = jax.ShapeDtypeStruct((1, clip.shape[1], 64, 64, 3), jnp.float32)
  loss = lambda params, x: jnp.sum(model.apply(variables | {"params": params}, x))
  ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), variables)
  variables = ones
  gradients = jax.eval_shape(jax.jit(jax.grad(loss)), ones["params"], clip)
  assert jax.tree.structure(gradients) == jax.tree.structure(ones["params"])


def test_windows_are_moved_by_one_and_never_larger_than_the_map():
  x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5, 2))
  found = mean_of_windows(x, (2, 3, 9))
  assert found.shape == (2, 2, 2, 1, 2)
  expected = x[:, 1:3, :3].mean((1, 2, 3))
  np.testing.assert_allclose(found[:, 1, 0, 0], expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    mean_of_windows(x, (0, 0, 0))[:, 0, 0, 0], x.mean((1, 2, 3)), rtol=1e-5
  )


def test_padding_by_name():
  size = (8, 7, 6)
  assert padding_of("centred", size, (3, 4, 1), (2, 2, 2)) == ((1, 1), (1, 2), (0, 0))
  assert padding_of("same", size, (3, 3, 3), (2, 2, 2)) == ((0, 1), (1, 1), (0, 1))
  assert padding_of(((1, 0), (0, 0), (0, 0)), size, (2, 1, 1), (1, 1, 1))[0] == (1, 0)


def test_stages_of_slowfast_are_pairs():
  model, variables, clip = small("slowfast_8x8_r50")
  found = jax.eval_shape(lambda v, x: model.apply(v, x, features=True), variables, clip)
  slow, fast = found.stages["res5"]
  assert slow.shape == (2, 2, 1, 1, 256) and fast.shape == (2, 8, 1, 1, 64)
  assert found.pooled.shape == (2, 320)


@pytest.mark.parametrize("alpha", [2, 4, 8])
def test_slow_frames_are_those_of_torch(alpha):
  torch = pytest.importorskip("torch")
  for frames in range(alpha, 260, alpha):
    expected = torch.linspace(0, frames - 1, frames // alpha).long().tolist()
    assert video.slow_frames(frames, alpha).tolist() == expected, frames


def test_networks_are_made_inside_modules():
  class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
      settings, _ = SMALL["x3d_s"]
      return sum(video.create("x3d_s", 5, **settings)(part) for part in jnp.split(x, 2, axis=1))

  clip = jax.ShapeDtypeStruct((1, 8, 32, 32, 3), jnp.float32)
  variables = jax.eval_shape(Two().init, jax.random.key(0), clip)
  assert set(variables["params"]) == {"X3D_0", "X3D_1"}


@pytest.mark.parametrize(
  ("name", "size", "fields", "said"),
  [
    (
      "s3d_g",
      (4, 32, 32),
      {"padding": "centred"},
      "max_pool3d: nothing is left of 1 x 2 x 2 .T, H, W. by",
    ),
    ("i3d_r50", (1, 32, 32), {}, "nothing is left of 1 x 8 x 8 .T, H, W. by windows of .2, 1"),
    ("t3d_121", (4, 64, 64), {}, "mean: nothing is left of 1 x "),
    ("c3d", (8, 32, 32), {}, "max_pool3d: nothing is left of 1 x .*: the clip is too short"),
    ("r3d_18", (8, 32, 32), {"block": "Basic"}, "ResNet3D: block is 'Basic'; it must be one of"),
    ("r3d_18", (8, 32, 32), {"convolution": "spatial"}, "convolution is 'spatial'; .* 'factored'"),
    ("r3d_18", (8, 32, 32), {"padding": "SAME"}, "ResNet3D: padding is 'SAME'; .* 'centred', 'sa"),
    ("r3d_18", (8, 32, 32), {"depths": (1, 1)}, "an entry a stage each; found depths 2, strides 4"),
    ("x3d_s", (4, 32, 32), {"widths": (8,)}, "X3D: .*; found widths 1, depths 4, strides 4"),
    ("slowfast_8x8_r50", (8, 32, 32), {"sampling": "stride"}, "sampling is 'stride'"),
    (
      "slowfast_8x8_r50",
      (8, 32, 32),
      {"width": 6},
      "a multiple of beta = 4; found 6",
    ),
  ],
)
def test_what_can_not_be_is_said_in_a_line(name, size, fields, said):
  settings, _ = SMALL[name]
  model = video.create(name, 5, **settings | fields)
  clip = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
  with pytest.raises(ValueError, match=said):
    jax.eval_shape(model.init, jax.random.key(0), clip)


def test_c3d_says_that_it_has_one_size():
  model, variables, _ = small("c3d")
  larger = jax.ShapeDtypeStruct((1, 16, 64, 64, 3), jnp.float32)
  with pytest.raises(ValueError, match="C3D has one size of clips: these weights read maps of 16"):
    jax.eval_shape(model.apply, variables, larger)


def test_errors_name_what_is_wrong():
  with pytest.raises(ValueError, match="no network is called 'x3d'; known: c3d, r3d_18"):
    video.create("x3d", 10)
  with pytest.raises(
    ValueError, match="x3d_s has no field 'widht'; it has num_classes, stem_width"
  ):
    video.create("x3d_s", 10, widht=2)
  with pytest.raises(ValueError, match="num_classes is 0; it must be at least 1"):
    video.create("x3d_s", 0)
  model = video.create("slowfast_8x8_r50", 2)
  init = lambda shape, dtype=jnp.float32: jax.eval_shape(
    model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, dtype)
  )
  with pytest.raises(
    ValueError, match=r"a clip must be \[B, T, H, W, C\] .* found \[8, 32, 32, 3\]"
  ):
    init((8, 32, 32, 3))
  with pytest.raises(ValueError, match="frames must be a multiple of alpha = 4; found 9"):
    init((1, 9, 32, 32, 3))
  with pytest.raises(ValueError, match="a clip must be floating point, normalized; found uint8"):
    init((1, 8, 32, 32, 3), jnp.uint8)
  with pytest.raises(ValueError, match="head is 'mean'; it must be one of 'global', 'dense'"):
    model = model.clone(head="mean")
    init((1, 8, 32, 32, 3))
