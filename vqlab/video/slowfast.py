"""SlowFast: a slow pathway for what is seen, a fast and thin one for how it moves.

    Feichtenhofer, Fan, Malik, He 2019, arXiv 1812.03982, as pytorchvideo and PySlowFast have it.

    clip      [B, T, H, W, C], the fast pathway's frames; of them the slow one gets T / alpha:
              frames floor(linspace(0, T - 1, T / alpha))
    slow      ResNet of width W, kernels in time of 1, 1, 3, 3 in res2 ... res5
    fast      ResNet of width W / beta, kernels in time of 3 throughout
    lateral   after the stem, res2, res3 and res4: a convolution over fusion_size frames with stride
              alpha doubles the fast channels, which are appended to the slow ones

Modules are slow_stem, slow_res2_0, ..., fast_..., lateral_stem, lateral_res2, ...
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.checks import one_of
from vqlab.nn.conv3d_layers import Conv3D, NamedPadding
from vqlab.nn.patches3d import Triple
from vqlab.video.blocks import Bottleneck, stage
from vqlab.video.layers import Features, Heads, answer, check, max_pool, unit_of


def slow_frames(frames: int, alpha: int) -> np.ndarray:
  """Which of the fast pathway's frames the slow one sees: i[frames // alpha].

  floor(linspace(0, frames - 1, frames // alpha)), where PyTorch's float32 is floored: from either
  end in steps, so that some that are whole numbers come out one less.
  """
  count = frames // alpha
  if count < 2:
    return np.zeros(count, np.int64)
  step = np.float32(frames - 1) / np.float32(count - 1)
  i = np.arange(count, dtype=np.float32)
  ends = np.where(i < count // 2, step * i, np.float32(frames - 1) - step * (count - 1 - i))
  return ends.astype(np.int64)


class SlowFast(nn.Module):
  """Two pathways; the fields that all networks have: see `vqlab/video/layers.py`.

  Attributes:
    width: of the slow stem; the fast one has width / beta.
    beta: how many times as many channels the slow pathway has.
    alpha: how many times as many frames the fast pathway sees.
    fusion_size: frames a lateral convolution spans.
    fusion_ratio: channels of a lateral convolution for each fast one.
    depths: blocks of res2 ... res5, in both pathways.
    strides: of res2 ... res5, in both pathways.
    slow_temporal, fast_temporal: lengths in time of the kernels of the stages' blocks; where a
      stage has more blocks than lengths they are taken in turn.
    slow_stem, fast_stem: sizes of the first convolutions.
    stem_stride, stem_pool, stem_pool_stride: of both, and of the max-pools after them.
    sampling: which frames the slow pathway sees: "linspace", see `slow_frames`; "strided", every
      alpha-th from the first on, as in mmaction2.
    lateral_norm: whether lateral convolutions have norm and ReLU, which mmaction2's have not.
    zero_init: whether the last norm of each block begins with scale 0.
    pool: of both pathways, (H, W): in time a window covers all.
  """

  num_classes: int = 400
  width: int = 64
  beta: int = 8
  alpha: int = 4
  fusion_size: int = 7
  fusion_ratio: int = 2
  depths: tuple[int, ...] = (3, 4, 6, 3)
  strides: tuple[Triple, ...] = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2))
  slow_temporal: tuple[tuple[int, ...], ...] = ((1,), (1,), (3,), (3,))
  fast_temporal: tuple[tuple[int, ...], ...] = ((3,), (3,), (3,), (3,))
  slow_stem: Triple = (1, 7, 7)
  fast_stem: Triple = (5, 7, 7)
  stem_stride: Triple = (1, 2, 2)
  stem_pool: Triple = (1, 3, 3)
  stem_pool_stride: Triple = (1, 2, 2)
  sampling: Literal["linspace", "strided"] = "linspace"
  lateral_norm: bool = True
  zero_init: bool = True
  head: Heads = "global"
  pool: tuple[int, int] = (7, 7)
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
    """[B, T, H, W, C] -> logits, or Features whose stages are pairs (slow, fast).

    A stage's slow map is without what the lateral convolution appends for the next.

    Raises:
      ValueError: T is no multiple of alpha.
    """
    lists = ("depths", "strides", "slow_temporal", "fast_temporal")
    check(self, clip, frames=self.alpha, stages=lists)
    one_of("SlowFast: sampling", self.sampling, ("linspace", "strided"))
    if self.width % self.beta:
      raise ValueError(
        f"SlowFast: width must be a multiple of beta = {self.beta}; found {self.width}"
      )
    if clip.shape[1] % self.alpha:
      raise ValueError(
        f"SlowFast: frames must be a multiple of alpha = {self.alpha}; found {clip.shape[1]}"
      )
    unit, call = unit_of(self), {"train": train, "axis_name": axis_name}
    thin = self.width // self.beta
    fast = clip.astype(self.dtype)
    strided = self.sampling == "strided"
    slow = fast[:, :: self.alpha] if strided else fast[:, slow_frames(clip.shape[1], self.alpha)]

    def stem(x: jax.Array, name: str, width: int, size: Triple) -> jax.Array:
      x = unit(width, size, stride=self.stem_stride, name=f"{name}_stem")(x, **call)
      return max_pool(x, self.stem_pool, self.stem_pool_stride, self.padding)

    def lateral(after: str, slow: jax.Array, fast: jax.Array) -> jax.Array:
      shape = (self.fusion_ratio * fast.shape[-1], (self.fusion_size, 1, 1), (self.alpha, 1, 1))
      name = f"lateral_{after}"
      if self.lateral_norm:
        x = unit(*shape, name=name)(fast, **call)
      else:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = Conv3D(*shape, padding=self.padding, name=name, **types)(fast)
      return jnp.concatenate([slow, x], axis=-1)

    slow = stem(slow, "slow", self.width, self.slow_stem)
    fast = stem(fast, "fast", thin, self.fast_stem)
    stages = {"stem": (slow, fast)}
    for i, (depth, stride) in enumerate(zip(self.depths, self.strides, strict=True)):
      slow, name = lateral(list(stages)[-1], slow, fast), f"res{i + 2}"
      shared = {
        "depth": depth,
        "stride": stride,
        "options": {"zero_init": self.zero_init},
        "call": call,
      }
      widths = [width * 2**i * Bottleneck.expansion for width in (self.width, thin)]
      slow = stage(
        Bottleneck, unit, slow, f"slow_{name}",
        features=widths[0], temporal=self.slow_temporal[i], **shared,
      )  # fmt: skip
      fast = stage(
        Bottleneck, unit, fast, f"fast_{name}",
        features=widths[1], temporal=self.fast_temporal[i], **shared,
      )  # fmt: skip
      stages[name] = (slow, fast)
    windows = ((0, *self.pool),) * 2
    return answer(self, stages, (slow, fast), windows, train=train, rows=rows, features=features)
