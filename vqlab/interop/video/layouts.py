"""How other projects name the tensors of networks for clips.

A layout maps modules of vqlab's networks to theirs by pairs of templates. On the left

    {s} {i} {k}   digits: stage, block, convolution        {x}   a letter: a, b, c

stand for themselves on the right, where there are as well

    {l}   s - 1        {m}   s - 1, from res3 on one more (a pool counts as a block)
    {n}   a, b, c as 1, 2, 3            {d}   the last block of the stage

A template holds for whole paths, the first that fits; leaves follow from the kind of layer.

    torchvision     its video.resnet and video.s3d; VMZ's PyTorch ports and ig65m's are alike
    pytorchvideo    its hub
    PySlowFast      facebookresearch/SlowFast's .pyth
    Caffe2          the same project's .pkl, blobs by name
    mmaction2       open-mmlab's, version 0.x and 1.x
    Hara            kenshohara/3D-ResNets-PyTorch
    piergiaj        pytorch-i3d
    hassony2        kinetics_i3d_pytorch
    images          torchvision's 2D ResNets, whose kernels are inflated
    DeepMind        kinetics-i3d's TensorFlow variables, less RGB/inception_i3d/
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import linen as nn

_TORCH = {"kernel": ".weight", "bias": ".bias", "scale": ".weight", "mean": ".running_mean"}
_TORCH |= {"var": ".running_var"}
_TENSORFLOW = {"kernel": "/w", "bias": "/beta", "mean": "/moving_mean", "fc.bias": "/b"}
_TENSORFLOW |= {"var": "/moving_variance"}
_CAFFE2 = {"kernel": "_w", "bias": "_b", "scale": "_s", "mean": "_rm", "var": "_riv"}


class Layout(NamedTuple):
  """One project's names for one family of networks."""

  project: str
  modules: Mapping[str, str]  # templates
  fields: Mapping[str, Any] = {}  # of the module, where the project's network differs from `create`
  leaves: Mapping[str, str] = _TORCH
  unless: str = ""  # a tensor that these never have, where another layout is told by the same ones
  pointwise: tuple[str, ...] = ()  # last modules whose dense layers are 1x1x1 convolutions there
  fast_first: bool = False  # whether the classifier reads the fast pathway's channels first
  images: bool = False  # kernels [O, I, H, W], to be inflated
  tensorflow: bool = False  # kernels [T, H, W, I, O]; norms [1, 1, 1, 1, C] without scale

  def keys(self, network: nn.Module) -> Callable[[tuple[str, ...]], str | None]:
    """What maps a path in the network's variables, less the collection, to the tensor's key.

    None where the project has no such tensor.
    """
    patterns = [(_pattern(ours), theirs) for ours, theirs in self.modules.items()]
    depths = getattr(network, "depths", ())

    def key(path: tuple[str, ...]) -> str | None:
      *modules, leaf = path
      for pattern, theirs in patterns:
        if found := pattern.fullmatch(".".join(modules)):
          values = dict(found.groupdict())
          if stage := int(values.get("s", 0)):
            values |= {"l": stage - 1, "m": stage - 1 + (stage > 2), "d": depths[stage - 2] - 1}
          if letter := values.get("x"):
            values["n"] = "abc".index(letter) + 1
          ends = self.leaves.get(f"{modules[-1]}.{leaf}", self.leaves.get(leaf))
          return None if ends is None else theirs.format(**values) + ends
      return None

    return key


def _pattern(template: str) -> re.Pattern[str]:
  escaped = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
  return re.compile(re.sub("{(.)}", lambda m: f"(?P<{m[1]}>{_PARTS[m[1]]})", escaped))


_PARTS = {"s": r"\d", "i": r"\d+", "k": r"\d", "x": "[abc]"}


def _of(ours: str, theirs: str, conv: str, norm: str) -> dict[str, str]:
  """A convolution and its norm."""
  return {f"{ours}.conv": theirs + conv, f"{ours}.norm": theirs + norm}


def _torchvision(stem: tuple[str, str], convolution: tuple[str, str]) -> dict[str, str]:
  """Where the last convolution of the stem, and those of a block, and their norms stand."""
  block, theirs = "res{s}_{i}.", "layer{l}.{i}."
  return {
    **_of("stem_s", "stem.", "0", "1"),
    **_of("stem", "stem.", *stem),
    **_of(block + "conv{k}_s", theirs + "conv{k}.0.", "0", "1"),
    **_of(block + "conv{k}", theirs + "conv{k}.", *convolution),
    **_of(block + "shortcut", theirs + "downsample.", "0", "1"),
    "head.fc": "fc",
  }


def _hara() -> dict[str, str]:
  block, theirs = "res{s}_{i}.", "layer{l}.{i}."
  return {
    **_of("stem", "", "conv1", "bn1"),
    **_of(block + "conv{k}", theirs, "conv{k}", "bn{k}"),
    **_of(block + "{x}", theirs, "conv{n}", "bn{n}"),
    **_of(block + "shortcut", theirs + "downsample.", "0", "1"),
    "head.fc": "fc",
  }


def _pytorchvideo(stage: str, head: str, pathway: str = "") -> dict[str, str]:
  """`stage`: how a stage's blocks are numbered."""
  block, theirs = "res{s}_{i}.", f"blocks.{stage}.{pathway}res_blocks.{{i}}."
  return {
    **_of("stem", f"blocks.0.{pathway}", "conv", "norm"),
    **_of(block + "{x}", theirs + "branch2.", "conv_{x}", "norm_{x}"),
    **_of(block + "shortcut", theirs + "branch1_", "conv", "norm"),
    "head.fc": head,
  }


_PYTORCHVIDEO_R2PLUS1D = {
  **_of("res{s}_{i}.b_t", "blocks.{l}.res_blocks.{i}.branch2.conv_b.", "conv_t", "norm"),
  "res{s}_{i}.b.conv": "blocks.{l}.res_blocks.{i}.branch2.conv_b.conv_xy",
  **_pytorchvideo("{l}", "blocks.5.proj"),
}

_PYTORCHVIDEO_X3D = {
  "res{s}_{i}.b.norm": "blocks.{l}.res_blocks.{i}.branch2.norm_b.0",
  "res{s}_{i}.squeeze": "blocks.{l}.res_blocks.{i}.branch2.norm_b.1.block.0",
  "res{s}_{i}.excite": "blocks.{l}.res_blocks.{i}.branch2.norm_b.1.block.2",
  "res{s}_{i}.shortcut": "blocks.{l}.res_blocks.{i}.branch1_conv",
  **_of("last", "blocks.5.pool.pre_", "conv", "norm"),
  "head.hidden": "blocks.5.pool.post_conv",
  **_pytorchvideo("{l}", "blocks.5.proj"),
  "stem_s": "blocks.0.conv.conv_t",  # the names are swapped there
  "stem.conv": "blocks.0.conv.conv_xy",
}


def _pathways(single: Mapping[str, str], slow: str, fast: str) -> dict[str, str]:
  """A network's templates for both pathways, whose names stand at {p}."""
  return {
    f"{pathway}_{ours}": theirs.replace("{p}", name)
    for pathway, name in (("slow", slow), ("fast", fast))
    for ours, theirs in single.items()
    if ours != "head.fc"
  }


_PYTORCHVIDEO_SLOWFAST = {
  **_pathways(_pytorchvideo("{l}", "", "multipathway_blocks.{p}."), "0", "1"),
  **_of("lateral_stem", "blocks.0.multipathway_fusion.", "conv_fast_to_slow", "norm"),
  **_of("lateral_res{s}", "blocks.{l}.multipathway_fusion.", "conv_fast_to_slow", "norm"),
  "head.fc": "blocks.6.proj",
}


def _pyslowfast(pathway: str = "0") -> dict[str, str]:
  block, theirs = "res{s}_{i}.", f"s{{s}}.pathway{pathway}_res{{i}}.branch"
  return {
    **_of("stem", f"s1.pathway{pathway}_stem.", "conv", "bn"),
    **_of(block + "{x}", theirs + "2.{x}", "", "_bn"),
    **_of(block + "shortcut", theirs + "1", "", "_bn"),
    "head.fc": "head.projection",
  }


_PYSLOWFAST_X3D = {
  "stem_s": "s1.pathway0_stem.conv_xy",
  "res{s}_{i}.squeeze": "s{s}.pathway0_res{i}.branch2.se.fc1",
  "res{s}_{i}.excite": "s{s}.pathway0_res{i}.branch2.se.fc2",
  **_of("last", "head.conv_5", "", "_bn"),
  "head.hidden": "head.lin_5",
  **_pyslowfast(),
}

_PYSLOWFAST_SLOWFAST = {
  **_pathways(_pyslowfast("{p}"), "0", "1"),
  **_of("lateral_stem", "s1_fuse.", "conv_f2s", "bn"),
  **_of("lateral_res{s}", "s{s}_fuse.", "conv_f2s", "bn"),
  "head.fc": "head.projection",
}


def _caffe2() -> dict[str, str]:
  block, theirs = "res{s}_{i}.", "res{s}_{i}_branch"
  return {
    "stem.conv": "conv1",
    "stem.norm": "res_conv1_bn",
    **_of(block + "{x}", theirs + "2{x}", "", "_bn"),
    **_of(block + "shortcut", theirs + "1", "", "_bn"),
    "head.fc": "pred",
  }


_CAFFE2_SLOWFAST = {
  **{f"slow_{ours}": name for ours, name in _caffe2().items()},
  **{f"fast_{ours}": f"t_{name}" for ours, name in _caffe2().items()},
  **_of("lateral_stem", "t_pool1_subsample", "", "_bn"),
  **_of("lateral_res{s}", "t_res{s}_{d}_branch2c_bn_subsample", "", "_bn"),
  "head.fc": "pred",
}


def _mmaction2(backbone: str = "backbone.") -> dict[str, str]:
  block, theirs = "res{s}_{i}.", backbone + "layer{l}.{i}."
  factored = {
    **_of("stem_s", backbone + "conv1.conv.", "conv_s", "bn_s"),
    **_of(block + "conv{k}_s", theirs + "conv{k}.conv.", "conv_s", "bn_s"),
    **_of(block + "conv{k}", theirs + "conv{k}.", "conv.conv_t", "bn"),
  }
  return {
    **factored,
    **_of("stem", backbone + "conv1.", "conv", "bn"),
    **_of(block + "{x}", theirs + "conv{n}.", "conv", "bn"),
    **_of(block + "shortcut", theirs + "downsample.", "conv", "bn"),
    "head.fc": "cls_head.fc_cls",
  }


_MMACTION2_R2PLUS1D = {
  **_of("res{s}_{i}.shortcut_s", "backbone.layer{l}.{i}.downsample.conv.", "conv_s", "bn_s"),
  **_mmaction2(),
  **_of("stem", "backbone.conv1.", "conv.conv_t", "bn"),
  **_of("res{s}_{i}.shortcut", "backbone.layer{l}.{i}.downsample.", "conv.conv_t", "bn"),
}

_MMACTION2_SLOWFAST = {
  **_pathways(_mmaction2("backbone.{p}."), "slow_path", "fast_path"),
  "lateral_stem": "backbone.slow_path.conv1_lateral.conv",
  "lateral_res{s}": "backbone.slow_path.layer{l}_lateral.conv",
  **_of("lateral_stem", "backbone.slow_path.conv1_lateral.", "conv", "bn"),
  **_of("lateral_res{s}", "backbone.slow_path.layer{l}_lateral.", "conv", "bn"),
  "head.fc": "cls_head.fc_cls",
}

_C3D = {f"conv{i}{x}": f"backbone.conv{i}{x}.conv" for i in range(1, 6) for x in "ab"}
_C3D |= {"fc6": "backbone.fc6", "fc7": "backbone.fc7", "head.fc": "cls_head.fc_cls"}

_BRANCHES = {"b0": "0", "b1a": "1.0", "b1b": "1.1", "b2a": "2.0", "b2b": "2.1", "b3b": "3.1"}
_MIXED = [f"Mixed_{name}" for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")]
_STEM = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3")


def _i3d(conv: str, norm: str, rename: Callable[[str, str], str], head: str) -> dict[str, str]:
  """`rename`: an endpoint and a branch of it as they are called there."""
  modules = {}
  for endpoint in _STEM:
    modules |= _of(endpoint, rename(endpoint, ""), conv, norm)
  for endpoint in _MIXED:
    for branch in _BRANCHES:
      modules |= _of(f"{endpoint}.{branch}", rename(endpoint, branch), conv, norm)
  return modules | {"head.fc": head}


def _hassony2(endpoint: str, branch: str) -> str:
  return endpoint.lower() + (f".branch_{_BRANCHES[branch]}" if branch else "")


def _deepmind(endpoint: str, branch: str) -> str:
  if not branch:
    return f"{endpoint}/"
  number, letter = branch[1], "b" if branch in ("b1b", "b2b", "b3b") else "a"
  size = "3x3" if branch in ("b1b", "b2b") else "1x1"
  if (endpoint, branch) == ("Mixed_5b", "b2b"):
    letter = "a"  # as it was published
  return f"{endpoint}/Branch_{number}/Conv3d_0{letter}_{size}/"


def _s3d() -> dict[str, str]:
  # Features are numbered with the pools: 1, 4, 7 and 13.
  at = dict(zip([*_STEM, *_MIXED], (0, 2, 3, 5, 6, 8, 9, 10, 11, 12, 14, 15), strict=True))
  modules: dict[str, str] = {}
  for endpoint in _STEM:
    theirs, factored = f"features.{at[endpoint]}", endpoint != "Conv3d_2b_1x1"
    modules |= _of(f"{endpoint}_s", f"{theirs}.0", ".0", ".1") if factored else {}
    modules |= _of(endpoint, f"{theirs}.1" if factored else theirs, ".0", ".1")
  for endpoint in _MIXED:
    for branch, number in _BRANCHES.items():
      theirs, factored = f"features.{at[endpoint]}.branch{number}", branch in ("b1b", "b2b")
      modules |= _of(f"{endpoint}.{branch}_s", f"{theirs}.0", ".0", ".1") if factored else {}
      last = f"{theirs}.1" if factored else theirs
      modules |= _of(f"{endpoint}.{branch}", last, ".0", ".1")
  return modules | {"head.fc": "classifier.1"}


_FC = ("fc",)
_HARA = Layout("Hara", _hara())
_IMAGES = Layout("images", _hara(), images=True)
_JOINT = Layout("torchvision", _torchvision(("0", "1"), ("0", "1")))
_FACTORED = Layout("torchvision", _torchvision(("3", "4"), ("0.3", "1")))
_MMACTION2_FACTORED = {
  "stem_middle": 83,
  "stem_pool": (1, 3, 3),
  "factored_shortcut": True,
  "middle_epsilon": 1e-5,
}
_SINGLE = (
  Layout("PySlowFast", _pyslowfast()),
  Layout("Caffe2", _caffe2(), leaves=_CAFFE2),
)
_HALVED_STEM = {"stem_stride": (2, 2, 2), "stem_pool_stride": (2, 2, 2)}
_POOLED = Layout("pytorchvideo", _pytorchvideo("{m}", "blocks.6.proj"))


def _slowfast(**fields: Any) -> tuple[Layout, ...]:
  """`fields`: what mmaction2's network of this name has otherwise."""
  fields |= {"sampling": "strided"}
  without = {**fields, "lateral_norm": False}
  norm = "backbone.slow_path.conv1_lateral.bn.weight"  # of its steplr configs
  return (
    Layout("pytorchvideo", _PYTORCHVIDEO_SLOWFAST),
    Layout("PySlowFast", _PYSLOWFAST_SLOWFAST),
    Layout("Caffe2", _CAFFE2_SLOWFAST, leaves=_CAFFE2),
    Layout("mmaction2", _MMACTION2_SLOWFAST, without, unless=norm, fast_first=True),
    Layout("mmaction2 with lateral norms", _MMACTION2_SLOWFAST, fields, fast_first=True),
  )


_X3D = (
  Layout("pytorchvideo", _PYTORCHVIDEO_X3D, pointwise=("squeeze", "excite", "hidden")),
  Layout(
    "PySlowFast",
    _PYSLOWFAST_X3D,
    {"shortcut_norm": True},
    pointwise=("squeeze", "excite", "hidden"),
  ),
)
_I3D = (
  Layout(
    "piergiaj",
    _i3d("conv3d", "bn", lambda e, b: f"{e}.{b}." if b else f"{e}.", "logits.conv3d"),
    pointwise=_FC,
  ),
  Layout(
    "hassony2",
    _i3d("conv3d", "batch3d", lambda e, b: f"{_hassony2(e, b)}.", "conv3d_0c_1x1.conv3d"),
    pointwise=_FC,
  ),
  Layout(
    "DeepMind",
    _i3d("conv_3d", "batch_norm", _deepmind, "Logits/Conv3d_0c_1x1/conv_3d"),
    leaves=_TENSORFLOW,
    pointwise=_FC,
    tensorflow=True,
  ),
)

# By name of the network, the likeliest first.
LAYOUTS: dict[str, tuple[Layout, ...]] = {
  "c3d": (Layout("mmaction2", _C3D),),
  "r3d_18": (_JOINT,),
  "mc3_18": (_JOINT,),
  "r2plus1d_18": (_FACTORED,),
  "r2plus1d_18_paper": (_FACTORED,),
  "r2plus1d_34": (_FACTORED, Layout("mmaction2", _MMACTION2_R2PLUS1D, _MMACTION2_FACTORED)),
  "r2plus1d_r50": (Layout("pytorchvideo", _PYTORCHVIDEO_R2PLUS1D),),
  **dict.fromkeys(("resnet3d_18", "resnet3d_34", "resnet3d_50"), (_HARA, _IMAGES)),
  **dict.fromkeys(("i3d", "i3d_flow"), _I3D),
  "i3d_r50": (_POOLED, *_SINGLE, Layout("mmaction2", _mmaction2(), _HALVED_STEM), _IMAGES),
  "c2d_r50": (_POOLED, *_SINGLE, _IMAGES),
  "slow_r50": (
    Layout("pytorchvideo", _pytorchvideo("{l}", "blocks.5.proj")),
    *_SINGLE,
    Layout("mmaction2", _mmaction2()),
    _IMAGES,
  ),
  "s3d": (Layout("torchvision", _s3d(), pointwise=_FC),),
  "slowfast_4x16_r50": _slowfast(),
  "slowfast_8x8_r50": _slowfast(),
  "slowfast_8x8_r101": _slowfast(fusion_size=7),
  "slowfast_16x8_r101_50_50": _slowfast()[:3],
  **dict.fromkeys(("x3d_xs", "x3d_s", "x3d_m", "x3d_l", "x3d_xl"), _X3D),
}
