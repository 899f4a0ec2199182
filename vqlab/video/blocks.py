"""Residual blocks of networks for clips, and stages of them.

Blocks bear the module names

    Basic         conv1, conv2 (of factored ones the first part conv1_s ...), shortcut
    Bottleneck    a, b (of a factored one the first part b_t), c, shortcut

each with conv and norm. The stride of a block is that of its first convolution, of a bottleneck
that of its middle one.
"""

from typing import Any, Literal

import jax
from flax import linen as nn

from vqlab.nn.patches3d import Triple
from vqlab.video.layers import Unit

BASIC = ("joint", "factored", "factored_per_block")
BOTTLENECK = ("joint", "spatial", "factored")
Convolution = Literal["joint", "spatial", "factored", "factored_per_block"]


def middle_width(inputs: int, outputs: int, *, area: int = 9) -> int:
  """Channels between 1 x k x k and 3 x 1 x 1 for as many parameters as 3 x k x k has; area: k k.

  For k = 3 that of arXiv 1711.11248, section 3.5.
  """
  return 3 * area * inputs * outputs // (area * inputs + 3 * outputs)


class Basic(nn.Module):
  """Two convolutions and a shortcut.

  Attributes:
    temporal: length in time of both kernels.
    convolution: one of BASIC. "joint": temporal x3x3. "factored": 1x3x3, norm, ReLU, temporal
      x1x1 with `middle_width` channels between, of each convolution's own widths (the paper's,
      VMZ's and mmaction2's). "factored_per_block": with the block's in both (torchvision's).
    factored_shortcut: whether the shortcut is factored too, as mmaction2's is.
    middle_epsilon: of the norms within factored convolutions; None: the unit's.
    zero_init: whether the last norm's scale begins at 0, and so the block as its shortcut.
  """

  unit: Unit
  features: int
  stride: Triple
  temporal: int = 3
  convolution: Convolution = "joint"
  factored_shortcut: bool = False
  middle_epsilon: float | None = None
  zero_init: bool = False
  expansion = 1

  @nn.compact
  def __call__(self, x: jax.Array, **call: Any) -> jax.Array:
    inputs, width = x.shape[-1], self.features
    per_block = self.convolution == "factored_per_block"
    seconds = inputs if per_block else width
    last = _last(self.zero_init)
    y = self._convolve(x, "conv1", self.stride, middle_width(inputs, width), call, {})
    y = self._convolve(y, "conv2", (1, 1, 1), middle_width(seconds, width), call, last)
    if not self.factored_shortcut or (inputs == width and self.stride == (1, 1, 1)):
      return nn.relu(y + _shortcut(self.unit, x, width, self.stride, call))
    middle, (t, h, w) = middle_width(inputs, width, area=1), self.stride
    x = self._middle(x, middle, (1, 1, 1), (1, h, w), "shortcut_s", call)
    return nn.relu(y + _shortcut(self.unit, x, width, (t, 1, 1), call))

  def _convolve(
    self, x: jax.Array, name: str, stride: Triple, middle: int, call: dict, options: dict
  ) -> jax.Array:
    t, h, w = stride
    if self.convolution == "joint":
      size = (self.temporal, 3, 3)
      return self.unit(self.features, size, stride=stride, name=name, **options)(x, **call)
    x = self._middle(x, middle, (1, 3, 3), (1, h, w), f"{name}_s", call)
    size = (self.temporal, 1, 1)
    return self.unit(self.features, size, stride=(t, 1, 1), name=name, **options)(x, **call)

  def _middle(
    self, x: jax.Array, width: int, size: Triple, stride: Triple, name: str, call: dict
  ) -> jax.Array:
    epsilon = {} if self.middle_epsilon is None else {"epsilon": self.middle_epsilon}
    return self.unit(width, size, stride=stride, name=name, **epsilon)(x, **call)


class Bottleneck(nn.Module):
  """1x1x1 or temporal x1x1 to a quarter of the width, a convolution, 1x1x1, and a shortcut.

  Attributes:
    temporal: length in time of the first kernel.
    convolution: the middle one, one of BOTTLENECK: "spatial": 1x3x3; "joint": 3x3x3; "factored":
      3x1x1, norm, ReLU, 1x3x3 (pytorchvideo's R(2+1)D).
    zero_init: whether the last norm's scale begins at 0, and so the block as its shortcut.
  """

  unit: Unit
  features: int
  stride: Triple
  temporal: int = 1
  convolution: Convolution = "spatial"
  zero_init: bool = True
  expansion = 4

  @nn.compact
  def __call__(self, x: jax.Array, **call: Any) -> jax.Array:
    unit, inner, (t, h, w) = self.unit, self.features // 4, self.stride
    y = unit(inner, (self.temporal, 1, 1), name="a")(x, **call)
    if self.convolution == "factored":
      y = unit(inner, (3, 1, 1), stride=(t, 1, 1), name="b_t")(y, **call)
      y = unit(inner, (1, 3, 3), stride=(1, h, w), name="b")(y, **call)
    else:
      size = (3 if self.convolution == "joint" else 1, 3, 3)
      y = unit(inner, size, stride=self.stride, name="b")(y, **call)
    y = unit(self.features, name="c", **_last(self.zero_init))(y, **call)
    return nn.relu(y + _shortcut(unit, x, self.features, self.stride, call))


def _last(zero_init: bool) -> dict[str, Any]:
  """The options of a block's last norm."""
  return {"activation": None} | ({"scale_init": nn.initializers.zeros} if zero_init else {})


def _shortcut(unit: Unit, x: jax.Array, features: int, stride: Triple, call: dict) -> jax.Array:
  if x.shape[-1] == features and stride == (1, 1, 1):
    return x
  return unit(features, stride=stride, activation=None, name="shortcut")(x, **call)


def stage(
  block: type[Basic] | type[Bottleneck],
  unit: Unit,
  x: jax.Array,
  name: str,
  *,
  depth: int,
  features: int,
  stride: Triple,
  temporal: tuple[int, ...],
  options: dict[str, Any],
  call: dict[str, Any],
) -> jax.Array:
  """`depth` blocks, `name`_0 ..., the first with the stride; `temporal` lengths in turn."""
  for i in range(depth):
    x = block(
      unit=unit,
      features=features,
      stride=stride if i == 0 else (1, 1, 1),
      temporal=temporal[i % len(temporal)],
      name=f"{name}_{i}",
      **options,
    )(x, **call)
  return x
