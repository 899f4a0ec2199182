"""The networks by name: which module, and the clips it was published for."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqlab.nn.checks import whole_number
from vqlab.video.c3d import C3D
from vqlab.video.inception3d import Inception3D
from vqlab.video.resnet3d import ResNet3D
from vqlab.video.slowfast import SlowFast
from vqlab.video.t3d import DenseNet3D
from vqlab.video.x3d import X3D


class _Model(NamedTuple):
  network: nn.Module
  shape: tuple[int, int, int, int]  # T, H, W, C


def _hara(depths: tuple[int, ...], **options: Any) -> ResNet3D:
  stem = {"stem_size": (7, 7, 7), "stem_pool": (3, 3, 3), "stem_pool_stride": (2, 2, 2)}
  return ResNet3D(depths=depths, **stem, **options)


def _r2plus1d(depths: tuple[int, ...], convolution: str, **options: Any) -> ResNet3D:
  return ResNet3D(
    depths=depths, convolution=convolution, stem_size=(3, 7, 7), stem_middle=45, **options
  )


def _bottleneck(temporal: tuple[tuple[int, ...], ...], **options: Any) -> ResNet3D:
  """A ResNet-50 of pytorchvideo's."""
  return ResNet3D(
    **{
      "block": "bottleneck",
      "convolution": "spatial",
      "depths": (3, 4, 6, 3),
      "strides": ((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2)),
      "temporal": temporal,
      "stem_size": (1, 7, 7),
      "stem_pool": (1, 3, 3),
      "zero_init": True,
      "dropout": 0.5,
    }
    | options
  )


_TTL = ((1, 3, 6), (1, 3, 4), (1, 3, 4))
_R101 = {"depths": (3, 4, 23, 3), "fusion_size": 5}
_ONLY_SIX = (3,) * 6 + (1,) * 17
_HALF_STEPS = ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))

_MODELS = {
  "c3d": _Model(C3D(), (16, 112, 112, 3)),
  "r3d_18": _Model(ResNet3D(), (16, 112, 112, 3)),
  "mc3_18": _Model(
    ResNet3D(
      temporal=((3,), (1,), (1,), (1,)), strides=((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2))
    ),
    (16, 112, 112, 3),
  ),
  "r2plus1d_18": _Model(_r2plus1d((2, 2, 2, 2), "factored_per_block"), (16, 112, 112, 3)),
  "r2plus1d_18_paper": _Model(_r2plus1d((2, 2, 2, 2), "factored", epsilon=1e-3), (16, 112, 112, 3)),
  "r2plus1d_34": _Model(_r2plus1d((3, 4, 6, 3), "factored", epsilon=1e-3), (32, 112, 112, 3)),
  "r2plus1d_r50": _Model(
    _bottleneck(
      ((1,),) * 4, convolution="factored", strides=_HALF_STEPS, stem_pool=None, pool=(4, 7, 7)
    ),
    (16, 224, 224, 3),
  ),
  "resnet3d_18": _Model(_hara((2, 2, 2, 2)), (16, 112, 112, 3)),
  "resnet3d_34": _Model(_hara((3, 4, 6, 3)), (16, 112, 112, 3)),
  "resnet3d_50": _Model(
    _hara((3, 4, 6, 3), block="bottleneck", temporal=((1,),) * 4), (16, 112, 112, 3)
  ),
  "densenet3d_121": _Model(DenseNet3D(), (32, 224, 224, 3)),
  "t3d_121": _Model(DenseNet3D(stem_pool_stride=(1, 2, 2), ttl=_TTL), (32, 224, 224, 3)),
  "t3d_169": _Model(
    DenseNet3D(depths=(6, 12, 32, 32), stem_pool_stride=(1, 2, 2), ttl=_TTL), (32, 224, 224, 3)
  ),
  "i3d": _Model(Inception3D(), (64, 224, 224, 3)),
  "i3d_flow": _Model(Inception3D(), (64, 224, 224, 2)),
  "i3d_r50": _Model(
    _bottleneck(((3,), (3, 1), (3, 1), (1, 3)), stem_size=(5, 7, 7), res2_pool=2, pool=(4, 7, 7)),
    (8, 224, 224, 3),
  ),
  "c2d_r50": _Model(_bottleneck(((1,),) * 4, res2_pool=2, pool=(4, 7, 7)), (8, 224, 224, 3)),
  "slow_r50": _Model(_bottleneck(((1,), (1,), (3,), (3,)), pool=(8, 7, 7)), (8, 224, 224, 3)),
  "s3d": _Model(
    Inception3D(factored=True, factored_stem=True, padding="centred", dropout=0.2),
    (64, 224, 224, 3),
  ),
  "s3d_g": _Model(
    Inception3D(factored=True, gated=True, stem_frames=3, dropout=0.2),
    (64, 224, 224, 3),
  ),
  "slowfast_4x16_r50": _Model(SlowFast(alpha=8, fusion_size=5), (32, 224, 224, 3)),
  "slowfast_8x8_r50": _Model(SlowFast(), (32, 224, 224, 3)),
  "slowfast_8x8_r101": _Model(SlowFast(**_R101), (32, 224, 224, 3)),
  "slowfast_16x8_r101_50_50": _Model(
    SlowFast(
      **_R101,
      slow_temporal=((1,), (1,), _ONLY_SIX, (3,)),
      fast_temporal=((3,), (3,), _ONLY_SIX, (3,)),
    ),
    (64, 224, 224, 3),
  ),
  "x3d_xs": _Model(X3D(pool=(4, 5, 5)), (4, 160, 160, 3)),
  "x3d_s": _Model(X3D(pool=(13, 5, 5)), (13, 160, 160, 3)),
  "x3d_m": _Model(X3D(pool=(16, 7, 7)), (16, 224, 224, 3)),
  "x3d_l": _Model(X3D(depths=(5, 10, 25, 15), pool=(16, 10, 10)), (16, 312, 312, 3)),
  "x3d_xl": _Model(
    X3D(stem_width=32, widths=(32, 72, 136, 280), depths=(5, 10, 25, 15), pool=(16, 10, 10)),
    (16, 312, 312, 3),
  ),
}


def names() -> list[str]:
  """All names that `create` knows."""
  return list(_MODELS)


def input_shape(name: str) -> tuple[int, int, int, int]:
  """(T, H, W, C) of the clips a network was published for, in training where that differs.

  Raises:
    ValueError: no network has this name.
  """
  return _model(name).shape


def create(name: str, num_classes: int, **fields: Any) -> nn.Module:
  """The network of a name, with other values for any of its module's fields.

      create("slowfast_8x8_r50", 400)
      create("x3d_s", 8, widths=(8, 8, 16, 16), depths=(1, 1, 2, 1))        # a small one

  Args:
    name: one of `names()`.
    num_classes: logits a clip.
    fields: see the class.

  Raises:
    ValueError: no network has this name, or this one has no such field.
  """
  whole_number("num_classes", num_classes, least=1)
  network = _model(name).network
  known = [f for f in network.__dataclass_fields__ if f not in ("parent", "name")]
  for field in fields:
    if field not in known:
      raise ValueError(f"create: {name} has no field {field!r}; it has {', '.join(known)}")
  # Not `clone`, so that modules may create networks of their own.
  kept = {field: getattr(network, field) for field in known}
  return type(network)(**kept | {"num_classes": num_classes} | fields)


def variable_shapes(name: str, network: nn.Module, *, channels: int = 0) -> dict[str, Any]:
  """{"params", "batch_stats"} of a network of a name, shapes in place of arrays.

  Args:
    name: whose `input_shape` the clips have.
    network: such as `create` gives.
    channels: of the clips; 0: as many as published.
  """
  *size, published = input_shape(name)
  clip = jax.ShapeDtypeStruct((1, *size, channels or published), jnp.float32)
  return jax.eval_shape(network.init, jax.random.key(0), clip)


def _model(name: str) -> _Model:
  if name not in _MODELS:
    raise ValueError(f"no network is called {name!r}; known: {', '.join(_MODELS)}")
  return _MODELS[name]
