"""Inception-v1 over clips: I3D, and S3D, whose convolutions are factored into space and time.

    I3D      Carreira and Zisserman 2017, arXiv 1705.07750, as DeepMind's kinetics-i3d has it
    S3D      Xie et al. 2018, arXiv 1712.04851, as torchvision has it
    S3D-G    the same with gates: each branch's channels times sigmoid(W mean(x) + b), with a joint
             stem of 3x7x7 as in slim's s3dg.py (whose gates have no b; HowTo100M's have)

Modules bear the names of I3D's endpoints: Conv3d_1a_7x7, Conv3d_2b_1x1, Conv3d_2c_3x3, Mixed_3b
(b0; b1a, b1b; b2a, b2b; b3b) ... Mixed_5c. Factored ones have b1b_s, 1 x k x k, before b1b,
k x 1 x 1; gates are b0_gate, ... Stages are stem, mixed3, mixed4, mixed5, after their blocks.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.conv3d_layers import NamedPadding
from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.patches3d import Triple
from vqlab.video.layers import Features, Heads, Unit, answer, check, max_pool, unit_of

# Of each block the widths b0 | b1a, b1b | b2a, b2b | b3b.
Widths = tuple[int, int, int, int, int, int]

INCEPTION_V1: tuple[tuple[Widths, ...], ...] = (
  ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
  (
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
  ),
  ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def _convolve(
  unit: Unit,
  factored: bool,
  x: jax.Array,
  width: int,
  size: Triple,
  name: str,
  call: dict[str, Any],
  stride: Triple = (1, 1, 1),
) -> jax.Array:
  """A convolution and its norm; factored into space and time where it spans both."""
  (t, h, w), (tt, hh, ww) = size, stride
  if factored and t > 1 and max(h, w) > 1:
    x = unit(width, (1, h, w), stride=(1, hh, ww), name=f"{name}_s")(x, **call)
    size, stride = (t, 1, 1), (tt, 1, 1)
  return unit(width, size, stride=stride, name=name)(x, **call)


class _Gate(nn.Module):
  """Channels times sigmoid(W mean + b): [B, T, H, W, C] -> the same shape."""

  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    wide = at_least_float32(x.dtype)
    mean = jnp.mean(x.astype(wide), axis=(1, 2, 3), keepdims=True)
    gate = nn.Dense(x.shape[-1], dtype=wide, param_dtype=self.param_dtype, name="fc")
    return x * nn.sigmoid(gate(mean)).astype(x.dtype)


class _Mixed(nn.Module):
  """Four branches side by side."""

  unit: Unit
  factored: bool
  gated: bool
  padding: NamedPadding
  param_dtype: DTypeLike
  widths: Widths

  @nn.compact
  def __call__(self, x: jax.Array, **call: Any) -> jax.Array:
    b0, b1a, b1b, b2a, b2b, b3b = self.widths
    one, three = (1, 1, 1), (3, 3, 3)

    def conv(x: jax.Array, width: int, size: Triple, name: str) -> jax.Array:
      return _convolve(self.unit, self.factored, x, width, size, name, call)

    branches = {
      "b0": conv(x, b0, one, "b0"),
      "b1b": conv(conv(x, b1a, one, "b1a"), b1b, three, "b1b"),
      "b2b": conv(conv(x, b2a, one, "b2a"), b2b, three, "b2b"),
      "b3b": conv(max_pool(x, three, one, self.padding), b3b, one, "b3b"),
    }
    if self.gated:
      gate = lambda name: _Gate(self.param_dtype, name=f"{name}_gate")
      branches = {name: gate(name)(y) for name, y in branches.items()}
    return jnp.concatenate(list(branches.values()), axis=-1)


class Inception3D(nn.Module):
  """I3D or S3D; the fields that all networks have: see `vqlab/video/layers.py`.

  Attributes:
    stem: widths of the three convolutions before the blocks.
    stem_frames: frames the first convolution spans.
    stem_stride: of the first convolution.
    pools, pool_strides: of the max-pools, of which the first is behind the first convolution and
      one before each stage.
    blocks: widths of the blocks, by stage.
    width: what every width is multiplied by.
    factored: whether 3x3x3 is 1x3x3 and 3x1x1, each with norm and ReLU.
    factored_stem: whether the first convolution is, too.
    gated: whether there are S3D-G's gates.
    use_scale: whether norms have a scale; DeepMind's own I3D has none (which are ones).
    padding: "same" as in TensorFlow; "centred" as in torchvision, of max-pools as well.
  """

  num_classes: int = 400
  stem: tuple[int, int, int] = (64, 64, 192)
  stem_frames: int = 7
  stem_stride: Triple = (2, 2, 2)
  pools: tuple[Triple, ...] = ((1, 3, 3), (1, 3, 3), (3, 3, 3), (2, 2, 2))
  pool_strides: tuple[Triple, ...] = ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
  blocks: tuple[tuple[Widths, ...], ...] = INCEPTION_V1
  width: float = 1.0
  factored: bool = False
  factored_stem: bool = False
  gated: bool = False
  use_scale: bool = True
  head: Heads = "global"
  pool: Triple = (2, 7, 7)
  dropout: float = 0.5
  padding: NamedPadding = "same"
  epsilon: float = 1e-3
  momentum: float = 0.999
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
    check(self, clip, stages=("pools", "pool_strides"))
    if len(self.blocks) != len(self.pools) - 1:
      raise ValueError(
        f"Inception3D: blocks need {len(self.pools) - 1} stages, a pool each but the first; found "
        f"{len(self.blocks)}"
      )
    call = {"train": train, "axis_name": axis_name}
    unit = partial(unit_of(self), use_scale=self.use_scale)
    scaled = lambda widths: tuple(max(1, round(self.width * width)) for width in widths)

    def pool(x: jax.Array, i: int) -> jax.Array:
      # torchvision's pools over 2 positions leave out what fills no window.
      drops = self.padding == "centred" and max(self.pools[i]) == 2
      padding = ((0, 0),) * 3 if drops else self.padding
      return max_pool(x, self.pools[i], self.pool_strides[i], padding)

    first, second, third = scaled(self.stem)
    x, size = clip.astype(self.dtype), (self.stem_frames, 7, 7)
    x = _convolve(unit, self.factored_stem, x, first, size, "Conv3d_1a_7x7", call, self.stem_stride)
    x = pool(x, 0)
    x = unit(second, name="Conv3d_2b_1x1")(x, **call)
    x = _convolve(unit, self.factored, x, third, (3, 3, 3), "Conv3d_2c_3x3", call)
    if self.gated:
      x = _Gate(self.param_dtype, name="Conv3d_2c_3x3_gate")(x)
    stages = {"stem": x}
    parts = {
      "unit": unit,
      "factored": self.factored,
      "gated": self.gated,
      "padding": self.padding,
      "param_dtype": self.param_dtype,
    }
    for i, blocks in enumerate(self.blocks, 1):
      x = pool(x, i)
      for j, widths in enumerate(blocks):
        name = f"Mixed_{i + 2}{chr(ord('b') + j)}"
        x = _Mixed(widths=scaled(widths), name=name, **parts)(x, **call)
      stages[f"mixed{i + 2}"] = x
    return answer(self, stages, (x,), (self.pool,), train=train, rows=rows, features=features)
