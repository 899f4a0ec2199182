"""X3D: a small image network expanded along time, space, width and depth.

    Feichtenhofer 2020, arXiv 2004.04730, as pytorchvideo and PySlowFast have it.

    stem     1x3x3 to stem_width, stride 2, no norm; 5x1x1 depthwise
    block    1x1x1 to int(ratio C), 3x3x3 depthwise, norm, squeeze and excitation in every second
             block from the first on, Swish, 1x1x1 to C, and a shortcut
    head     1x1x1 to int(ratio C), pool, a ReLU layer without norm, dropout, classifier

No stride in time anywhere. Stages are stem, res2 ... res5, last. Modules are stem_s, stem, res2_0
(a, b, squeeze, excite, c, shortcut), ..., last, head.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.conv3d_layers import Conv3D, NamedPadding
from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.patches3d import Triple
from vqlab.video.layers import Features, Heads, Unit, answer, check, unit_of


def round_width(width: float, *, divisor: int = 8) -> int:
  """The nearest multiple of the divisor, the next where that is more than a tenth less."""
  rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
  return rounded + divisor if rounded < 0.9 * width else rounded


class _Block(nn.Module):
  unit: Unit
  features: int
  inner: int
  squeezed: int  # channels between squeeze and excitation; 0: none
  size: Triple
  stride: Triple
  shortcut_norm: bool
  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: jax.Array, **call: Any) -> jax.Array:
    unit, stride = self.unit, self.stride
    y = unit(self.inner, name="a")(x, **call)
    y = unit(
      self.inner, self.size, stride=stride, groups=self.inner, activation=None, name="b"
    )(y, **call)  # fmt: skip
    if self.squeezed:
      y = y * self._gate(y)
    y = nn.swish(y)
    y = unit(
      self.features, activation=None, scale_init=nn.initializers.zeros, name="c"
    )(y, **call)  # fmt: skip
    strided = stride != (1, 1, 1)
    if x.shape[-1] != self.features or (strided and self.shortcut_norm):
      x = unit(self.features, stride=stride, activation=None, name="shortcut")(x, **call)
    elif strided:
      types = {"dtype": x.dtype, "param_dtype": self.param_dtype}
      x = Conv3D(self.features, stride=stride, name="shortcut", **types)(x)
    return nn.relu(x + y)

  def _gate(self, y: jax.Array) -> jax.Array:
    """[B, T, H, W, C] -> [B, 1, 1, 1, C] in (0, 1)."""
    wide = at_least_float32(y.dtype)
    types = {"dtype": wide, "param_dtype": self.param_dtype}
    mean = jnp.mean(y.astype(wide), axis=(1, 2, 3), keepdims=True)
    squeezed = nn.relu(nn.Dense(self.squeezed, name="squeeze", **types)(mean))
    return nn.sigmoid(nn.Dense(y.shape[-1], name="excite", **types)(squeezed)).astype(y.dtype)


class X3D(nn.Module):
  """One of X3D; the fields that all networks have: see `vqlab/video/layers.py`.

  Attributes:
    stem_width, stem_size, stem_stride: of the stem: channels, its two kernels' lengths, stride.
    widths, depths, strides: of res2 ... res5.
    block_size: of the depthwise convolution of a block.
    ratio: channels between the convolutions of a block for each of its own.
    squeeze: channels of squeeze and excitation for each of those between, rounded to 8; 0: none.
    hidden: channels of the head's ReLU layer.
    shortcut_norm: whether the shortcut of a block of one width with a stride has a norm, which
      PySlowFast's has and pytorchvideo's has not.
  """

  num_classes: int = 400
  stem_width: int = 24
  stem_size: Triple = (5, 3, 3)
  stem_stride: Triple = (1, 2, 2)
  widths: tuple[int, ...] = (24, 48, 96, 192)
  depths: tuple[int, ...] = (3, 5, 11, 7)
  strides: tuple[Triple, ...] = ((1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2))
  block_size: Triple = (3, 3, 3)
  ratio: float = 2.25
  squeeze: float = 1 / 16
  hidden: int = 2048
  shortcut_norm: bool = False
  head: Heads = "global"
  pool: Triple = (13, 5, 5)
  dropout: float = 0.5
  padding: NamedPadding = "centred"
  epsilon: float = 1e-5
  momentum: float = 0.9
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    clip: jax.Array,
    *,
    train: bool = False,
    axis_name: str | None = None,
    rows: jax.Array | None = None,
    features: bool = False,
  ) -> jax.Array | Features:
    """[B, T, H, W, C] -> logits, or Features; see `vqlab/video/layers.py`."""
    check(self, clip, stages=("widths", "depths", "strides"))
    frames, height, width = self.stem_size
    unit, call = unit_of(self), {"train": train, "axis_name": axis_name}
    stem = Conv3D(
      self.stem_width,
      (1, height, width),
      stride=(1, *self.stem_stride[1:]),
      padding=self.padding,
      name="stem_s",
      dtype=self.dtype,
      param_dtype=self.param_dtype,
    )
    x = stem(clip.astype(self.dtype))
    x = unit(
      self.stem_width,
      (frames, 1, 1),
      stride=(self.stem_stride[0], 1, 1),
      groups=self.stem_width,
      name="stem",
    )(x, **call)
    stages = {"stem": x}
    for i, (width, depth, stride) in enumerate(
      zip(self.widths, self.depths, self.strides, strict=True)
    ):
      inner = int(self.ratio * width)
      squeezed = round_width(inner * self.squeeze) if self.squeeze else 0
      for j in range(depth):
        x = _Block(
          unit=unit,
          features=width,
          inner=inner,
          squeezed=0 if j % 2 else squeezed,
          size=self.block_size,
          stride=(1, 1, 1) if j else stride,
          shortcut_norm=self.shortcut_norm,
          param_dtype=self.param_dtype,
          name=f"res{i + 2}_{j}",
        )(x, **call)
      stages[f"res{i + 2}"] = x
    x = stages["last"] = unit(int(self.ratio * self.widths[-1]), name="last")(x, **call)
    shared = {"train": train, "rows": rows, "features": features, "hidden": self.hidden}
    return answer(self, stages, (x,), (self.pool,), **shared)
