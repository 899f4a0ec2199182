"""Tensors of networks for clips under other projects' names; what does not fit is refused."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vqlab import interop, video
from vqlab.interop.video import LAYOUTS

TINY = {
  "c3d": {"widths": ((2,), (2,), (2, 2), (2, 2), (3, 3)), "hidden": (4, 4)},
  "i3d": {"width": 0.02},
  "s3d": {"width": 0.02},
  "slow_r50": {"width": 2, "depths": (1, 2, 1, 1)},
  "r2plus1d_34": {"width": 2, "depths": (1, 2, 1, 1)},
  "resnet3d_18": {"width": 2, "depths": (1, 1, 1, 1)},
  "resnet3d_50": {"width": 2, "depths": (1, 1, 1, 1)},
  "slowfast_8x8_r50": {"width": 8, "beta": 4, "depths": (1, 1, 2, 1)},
  "x3d_s": {"stem_width": 4, "widths": (4, 8, 8, 8), "depths": (2, 1, 1, 1), "hidden": 8},
}
CASES = [(name, layout) for name in TINY for layout in LAYOUTS[name] if not layout.images]

# Some keys and shapes of each, as those projects' files have them.
KEYS = {
  ("c3d", "mmaction2"): {
    "backbone.conv1a.conv.weight": (2, 3, 3, 3, 3),
    "backbone.conv5b.conv.bias": (3,),
    "backbone.fc6.weight": (4, 48),
    "cls_head.fc_cls.weight": (7, 4),
  },
  ("i3d", "piergiaj"): {
    "Conv3d_1a_7x7.conv3d.weight": (1, 3, 7, 7, 7),
    "Mixed_3b.b1b.bn.running_var": (3,),
    "logits.conv3d.weight": (7, 22, 1, 1, 1),
    "logits.conv3d.bias": (7,),
  },
  ("i3d", "hassony2"): {
    "conv3d_1a_7x7.batch3d.weight": (1,),
    "mixed_3b.branch_0.conv3d.weight": (1, 4, 1, 1, 1),
    "mixed_4f.branch_2.1.conv3d.weight": (3, 1, 3, 3, 3),
    "mixed_5c.branch_3.1.batch3d.bias": (3,),
    "conv3d_0c_1x1.conv3d.bias": (7,),
  },
  ("i3d", "DeepMind"): {
    "Conv3d_1a_7x7/conv_3d/w": (7, 7, 7, 3, 1),
    "Mixed_3b/Branch_0/Conv3d_0a_1x1/batch_norm/beta": (1, 1, 1, 1, 1),
    "Mixed_3b/Branch_1/Conv3d_0b_3x3/conv_3d/w": (3, 3, 3, 2, 3),
    "Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/moving_variance": (1, 1, 1, 1, 3),
    "Mixed_5c/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean": (1, 1, 1, 1, 3),
    "Mixed_5c/Branch_3/Conv3d_0b_1x1/conv_3d/w": (1, 1, 1, 17, 3),
    "Logits/Conv3d_0c_1x1/conv_3d/w": (1, 1, 1, 22, 7),
    "Logits/Conv3d_0c_1x1/conv_3d/b": (7,),
  },
  ("s3d", "torchvision"): {
    "features.0.0.0.weight": (1, 3, 1, 7, 7),
    "features.2.1.running_mean": (1,),
    "features.15.branch1.1.1.0.weight": (8, 8, 3, 1, 1),
    "classifier.1.weight": (7, 22, 1, 1, 1),
  },
  ("slow_r50", "PySlowFast"): {
    "s1.pathway0_stem.conv.weight": (2, 3, 1, 7, 7),
    "s1.pathway0_stem.bn.running_mean": (2,),
    "s3.pathway0_res1.branch2.a.weight": (4, 16, 1, 1, 1),
    "s5.pathway0_res0.branch2.c_bn.weight": (64,),
    "s2.pathway0_res0.branch1_bn.bias": (8,),
    "head.projection.weight": (7, 64),
  },
  ("slow_r50", "Caffe2"): {
    "conv1_w": (2, 3, 1, 7, 7),
    "res_conv1_bn_rm": (2,),
    "res3_1_branch2a_w": (4, 16, 1, 1, 1),
    "res5_0_branch2c_bn_s": (64,),
    "res2_0_branch1_bn_riv": (8,),
    "pred_b": (7,),
  },
  ("slow_r50", "mmaction2"): {
    "backbone.conv1.conv.weight": (2, 3, 1, 7, 7),
    "backbone.layer2.1.conv1.bn.running_var": (4,),
    "backbone.layer4.0.downsample.conv.weight": (64, 32, 1, 1, 1),
    "cls_head.fc_cls.bias": (7,),
  },
  ("r2plus1d_34", "mmaction2"): {
    "backbone.conv1.conv.conv_s.weight": (83, 3, 1, 7, 7),
    "backbone.conv1.conv.bn_s.weight": (83,),
    "backbone.conv1.conv.conv_t.weight": (2, 83, 3, 1, 1),
    "backbone.conv1.bn.weight": (2,),
    "backbone.layer2.1.conv2.conv.conv_t.weight": (4, 9, 3, 1, 1),
    "backbone.layer2.0.downsample.conv.conv_s.weight": (1, 2, 1, 1, 1),
    "backbone.layer2.0.downsample.conv.bn_s.bias": (1,),
    "backbone.layer2.0.downsample.conv.conv_t.weight": (4, 1, 1, 1, 1),
    "backbone.layer2.0.downsample.bn.weight": (4,),
  },
  ("resnet3d_18", "Hara"): {"conv1.weight": (2, 3, 7, 7, 7), "layer2.0.downsample.1.bias": (4,)},
  ("resnet3d_50", "Hara"): {"bn1.running_var": (2,), "layer1.0.conv2.weight": (2, 2, 3, 3, 3)},
  ("slowfast_8x8_r50", "PySlowFast"): {
    "s1.pathway1_stem.conv.weight": (2, 3, 5, 7, 7),
    "s1_fuse.conv_f2s.weight": (4, 2, 7, 1, 1),
    "s4_fuse.bn.running_mean": (64,),
    "s4.pathway1_res1.branch2.b_bn.weight": (8,),
    "head.projection.weight": (7, 320),
  },
  ("slowfast_8x8_r50", "Caffe2"): {
    "t_conv1_w": (2, 3, 5, 7, 7),
    "t_res_conv1_bn_riv": (2,),
    "t_pool1_subsample_w": (4, 2, 7, 1, 1),
    "t_pool1_subsample_bn_s": (4,),
    "t_res4_1_branch2c_bn_subsample_w": (64, 32, 7, 1, 1),
    "t_res3_0_branch2c_bn_subsample_bn_rm": (32,),
    "res4_1_branch2b_bn_b": (32,),
    "t_res4_1_branch2b_bn_b": (8,),
  },
  ("slowfast_8x8_r50", "mmaction2"): {
    "backbone.slow_path.conv1_lateral.conv.weight": (4, 2, 7, 1, 1),
    "backbone.slow_path.layer3_lateral.conv.weight": (64, 32, 7, 1, 1),
    "backbone.fast_path.layer3.1.conv3.bn.weight": (32,),
  },
  ("slowfast_8x8_r50", "mmaction2 with lateral norms"): {
    "backbone.slow_path.conv1_lateral.conv.weight": (4, 2, 7, 1, 1),
    "backbone.slow_path.conv1_lateral.bn.running_mean": (4,),
    "backbone.slow_path.layer3_lateral.bn.weight": (64,),
  },
  ("x3d_s", "PySlowFast"): {
    "s1.pathway0_stem.conv_xy.weight": (4, 3, 1, 3, 3),
    "s1.pathway0_stem.conv.weight": (4, 1, 5, 1, 1),
    "s2.pathway0_res0.branch1_bn.weight": (4,),
    "s2.pathway0_res0.branch2.se.fc1.weight": (8, 9, 1, 1, 1),
    "s2.pathway0_res1.branch2.b.weight": (9, 1, 3, 3, 3),
    "head.conv_5_bn.weight": (18,),
    "head.lin_5.weight": (8, 18, 1, 1, 1),
  },
}


def tiny(name, layout, classes=7):
  """A network as a project has it, and random variables."""
  model = video.create(name, classes, **TINY[name] | dict(layout.fields))
  clip = jax.ShapeDtypeStruct((1, *video.input_shape(name)), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip)
  rng = np.random.default_rng(0)
  values = lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32)
  return model, jax.tree.map(values, shapes)


@pytest.mark.parametrize(("name", "layout"), CASES, ids=[f"{n}-{l.project}" for n, l in CASES])
def test_names_there_and_back(name, layout):
  model, variables = tiny(name, layout)
  state = interop.to_torch(name, variables, model=model, project=layout.project)
  for key, shape in KEYS.get((name, layout.project), {}).items():
    assert state[key].shape == shape, key
  found = flatten_dict(interop.from_torch(name, state, model=model))
  for path, value in flatten_dict(variables).items():
    ones = layout.tensorflow and path[-1] == "scale"
    assert np.array_equal(found[path], np.ones_like(value) if ones else value), path


def test_every_layout_that_is_not_compared_with_torch_has_its_keys_here():
  compared = {"pytorchvideo", "torchvision"}
  assert {(n, l.project) for n, l in CASES if l.project not in compared} <= set(KEYS)


def test_of_mmaction2_s_slowfast_the_fast_channels_come_first():
  layout = next(l for l in LAYOUTS["slowfast_8x8_r50"] if l.project == "mmaction2")
  model, variables = tiny("slowfast_8x8_r50", layout)
  assert (model.lateral_norm, model.sampling) == (False, "strided")
  state = interop.to_torch("slowfast_8x8_r50", variables, model=model, project="mmaction2")
  kernel = variables["params"]["head"]["fc"]["kernel"]  # slow 256, fast 64
  np.testing.assert_array_equal(state["cls_head.fc_cls.weight"][:, :64], kernel[256:].T)


def test_of_c3d_s_first_hidden_layer_the_channels_come_first():
  model, variables = tiny("c3d", LAYOUTS["c3d"][0])
  state = interop.to_torch("c3d", variables, model=model)
  maps = np.random.default_rng(1).standard_normal((1, 4, 4, 3))  # T, H, W, C
  expected = maps.reshape(-1) @ variables["params"]["fc6"]["kernel"]
  found = state["backbone.fc6.weight"] @ maps.transpose(3, 0, 1, 2).reshape(-1)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_differs_from_create_is_told_by_the_tensors():
  model, variables = tiny("x3d_s", LAYOUTS["x3d_s"][1], classes=11)
  state = interop.to_torch("x3d_s", variables, model=model, project="PySlowFast")
  found = interop.video_model("x3d_s", state)
  assert found == video.create("x3d_s", 11, shortcut_norm=True)
  assert interop.to_torch("x3d_s", variables, model=model).keys() == state.keys()
  with pytest.raises(ValueError, match=r"pytorchvideo .shortcut_norm False there, True here"):
    interop.to_torch("x3d_s", variables, model=model, project="pytorchvideo")

  both = {l.project: l for l in LAYOUTS["slowfast_8x8_r50"] if "mmaction2" in l.project}
  for project, layout in both.items():
    model, variables = tiny("slowfast_8x8_r50", layout)
    state = interop.to_torch("slowfast_8x8_r50", variables, model=model, project=project)
    found = interop.video_model("slowfast_8x8_r50", state)
    assert found.lateral_norm == ("norms" in project) and found.sampling == "strided"


def test_clips_may_have_other_channels():
  model = video.create("slow_r50", 3, **TINY["slow_r50"])
  clip = jax.ShapeDtypeStruct((1, 8, 32, 32, 2), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip)
  variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
  state = interop.to_torch("slow_r50", variables, model=model)
  assert state["blocks.0.conv.weight"].shape == (2, 2, 1, 7, 7)
  found = interop.from_torch("slow_r50", state, model=model)
  assert jax.tree.all(jax.tree.map(np.array_equal, found, variables))


def test_kernels_of_images_are_inflated():
  layout = LAYOUTS["slow_r50"][-1]
  assert layout.images
  model, variables = tiny("slow_r50", layout, classes=1000)
  flat = interop.to_torch("slow_r50", variables, model=model, project="PySlowFast")
  key, there = layout.keys(model), LAYOUTS["slow_r50"][1].keys(model)
  images = {
    key(path): flat[there(path)].sum(2) if value.ndim == 5 else flat[there(path)]
    for (_, *path), value in flatten_dict(variables).items()
  }
  assert images["conv1.weight"].shape == (2, 3, 7, 7)
  found = interop.from_torch("slow_r50", images, model=model)
  kernel = found["params"]["res4_0"]["a"]["conv"]["kernel"]
  expected = variables["params"]["res4_0"]["a"]["conv"]["kernel"].sum(0) / 3
  np.testing.assert_allclose(kernel, np.stack([expected] * 3), rtol=1e-5, atol=1e-6)


def test_deepmind_s_variables_by_their_full_names():
  layout = next(l for l in LAYOUTS["i3d"] if l.project == "DeepMind")
  model, variables = tiny("i3d", layout)
  state = interop.to_torch("i3d", variables, model=model, project="DeepMind")
  named = {f"RGB/inception_i3d/{key}:0": value for key, value in state.items()}
  a = interop.from_torch("i3d", named, model=model)
  b = interop.from_torch("i3d", state, model=model)
  assert jax.tree.all(jax.tree.map(np.array_equal, a, b))
  short = {f"{key}:0": value for key, value in state.items()}
  c = interop.from_tensorflow("i3d", short, model=model)
  assert jax.tree.all(jax.tree.map(np.array_equal, a, c))
  with pytest.raises(ValueError, match="from_tensorflow: name is 's3d'; it must be one of 'i3d'"):
    interop.from_tensorflow("s3d", state)
  torch_s = interop.to_torch("i3d", variables, model=model, project="piergiaj")
  with pytest.raises(ValueError, match="from_tensorflow: these are named as piergiaj's; see from_"):
    interop.from_tensorflow("i3d", torch_s)


def refused(state, match, name="slow_r50", **options):
  with pytest.raises(ValueError, match=match):
    interop.from_torch(name, state, **options)


def test_what_does_not_fit_is_refused_by_name():
  model, variables = tiny("slow_r50", LAYOUTS["slow_r50"][0])
  state = interop.to_torch("slow_r50", variables, model=model)
  wrapped = {f"module.{key}": value for key, value in state.items()}
  found = interop.from_torch("slow_r50", wrapped, model=model)
  assert jax.tree.all(jax.tree.map(np.array_equal, found, variables))

  key = "blocks.2.res_blocks.1.branch2.conv_b.weight"
  refused({k: v for k, v in state.items() if k != key}, f"missing: {key}", model=model)
  refused(state | {"extra.weight": state[key]}, "unexpected: extra.weight", model=model)
  refused(
    state | {key: state[key][:1]},
    r"'blocks.2.res_blocks.1.branch2.conv_b.weight' has shape \[1, 4, 1, 3, 3\]; expected \[4, 4,",
    model=model,
  )
  refused(state | {key: state[key] * np.nan}, "holds NaN or infinity", model=model)
  refused(state, "slow_r50: .*; missing: blocks.1.res_blocks.1")  # it is deeper
  refused(state, "x3d_s: .* does not fit; missing: blocks.*; unexpected: blocks", name="x3d_s")
  refused(
    state, "r3d_18: the tensors are named as in none .* torchvision .fc.weight", name="r3d_18"
  )
  refused(state, "t3d_121: no weights were published", name="t3d_121")
  refused({"state_dict": state}, "give state_dict\\['state_dict'\\]")
