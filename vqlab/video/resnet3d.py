"""Residual networks with one pathway: R3D, MC3, R(2+1)D, C2D, I3D-ResNet and Slow.

    R3D, MC3, R(2+1)D     Tran et al. 2018, arXiv 1711.11248 (torchvision's and the authors' widths)
    3D ResNet             Hara et al. 2018, arXiv 1711.09577
    C2D, I3D-ResNet       Wang et al. 2018, arXiv 1711.07971
    Slow                  Feichtenhofer et al. 2019, arXiv 1812.03982, the slow pathway alone

The last three and R(2+1)D-50 as pytorchvideo has them. Stages are stem, res2, res3, res4, res5;
res4_2 is the third block of res4.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.checks import one_of
from vqlab.nn.conv3d_layers import NamedPadding
from vqlab.nn.patches3d import Triple
from vqlab.video.blocks import BASIC, BOTTLENECK, Basic, Bottleneck, Convolution, stage
from vqlab.video.layers import Features, Heads, answer, check, max_pool, unit_of

_HALVED = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))


class ResNet3D(nn.Module):
  """A residual network over clips; the fields that all networks have: see `vqlab/video/layers.py`.

  Attributes:
    block: "basic", two convolutions; "bottleneck", three, and four times the width.
    convolution: of the blocks, see `vqlab/video/blocks.py`.
    width: of the stem and of res2's convolutions; each stage after it has twice as much.
    depths: blocks of res2 ... res5.
    strides: of res2 ... res5, over T, H and W.
    temporal: lengths in time of the kernels of each stage's blocks, taken in turn.
    stem_size, stem_stride: of the first convolution.
    stem_middle: channels between 1 x H x W and T x 1 x 1, where the stem is factored; 0: it is not.
    stem_pool, stem_pool_stride: window and stride of a max-pool after it; None: none.
    res2_pool: window and stride in time of a max-pool after res2; 1: none.
    middle_epsilon, factored_shortcut: of basic blocks, see `vqlab/video/blocks.py`; the stem's
      first norm has the former as well.
    zero_init: whether the last norm of each block begins with scale 0.
  """

  num_classes: int = 400
  block: Literal["basic", "bottleneck"] = "basic"
  convolution: Convolution = "joint"
  width: int = 64
  depths: tuple[int, ...] = (2, 2, 2, 2)
  strides: tuple[Triple, ...] = _HALVED
  temporal: tuple[tuple[int, ...], ...] = ((3,), (3,), (3,), (3,))
  stem_size: Triple = (3, 7, 7)
  stem_stride: Triple = (1, 2, 2)
  stem_middle: int = 0
  stem_pool: Triple | None = None
  stem_pool_stride: Triple = (1, 2, 2)
  res2_pool: int = 1
  middle_epsilon: float | None = None
  factored_shortcut: bool = False
  zero_init: bool = False
  head: Heads = "global"
  pool: Triple = (0, 0, 0)
  dropout: float = 0.0
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
    check(self, clip, stages=("depths", "strides", "temporal"))
    one_of("ResNet3D: block", self.block, ("basic", "bottleneck"))
    basic = self.block == "basic"
    one_of("ResNet3D: convolution", self.convolution, BASIC if basic else BOTTLENECK)
    unit, call = unit_of(self), {"train": train, "axis_name": axis_name}
    x = clip.astype(self.dtype)
    size, stride = self.stem_size, self.stem_stride
    if self.stem_middle:
      epsilon = self.epsilon if self.middle_epsilon is None else self.middle_epsilon
      options = {"stride": (1, *stride[1:]), "epsilon": epsilon, "name": "stem_s"}
      spatial = unit(self.stem_middle, (1, *size[1:]), **options)
      x, size, stride = spatial(x, **call), (size[0], 1, 1), (stride[0], 1, 1)
    x = unit(self.width, size, stride=stride, name="stem")(x, **call)
    if self.stem_pool:
      x = max_pool(x, self.stem_pool, self.stem_pool_stride, self.padding)
    stages = {"stem": x}
    block, options = Bottleneck, {"convolution": self.convolution, "zero_init": self.zero_init}
    if basic:
      block = Basic
      options |= {
        "middle_epsilon": self.middle_epsilon,
        "factored_shortcut": self.factored_shortcut,
      }
    for i, (depth, stride, temporal) in enumerate(
      zip(self.depths, self.strides, self.temporal, strict=True)
    ):
      name = f"res{i + 2}"
      x = stages[name] = stage(
        block,
        unit,
        x,
        name,
        depth=depth,
        features=self.width * 2**i * block.expansion,
        stride=stride,
        temporal=temporal,
        options=options,
        call=call,
      )
      if i == 0 and self.res2_pool > 1:
        window = (self.res2_pool, 1, 1)
        x = max_pool(x, window, window, ((0, 0),) * 3)
    return answer(self, stages, (x,), (self.pool,), train=train, rows=rows, features=features)
