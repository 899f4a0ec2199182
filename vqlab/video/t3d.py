"""DenseNet over clips, and T3D, whose temporal transition layers span several lengths of time.

    Diba et al. 2017, arXiv 1711.08200. The authors' code never ran and is deleted; this is one
    reading of the paper, of its first draft in their repository, and of the Keras port.

    dense layer    BN-ReLU-1x1x1 to bottleneck x growth, BN-ReLU-3x3x3 to growth, appended
    TTL            before a transition: BN-ReLU-convolution to ttl_width channels over 1x1x1, 3x3x3
                   and D x3x3 (D = 6, 4, 4 after blocks 1, 2, 3), side by side, appended to nothing:
                   they are what the transition reads
    transition     BN-ReLU-1x1x1 to half, 2x2x2 mean

The even D is padded by (D - 1) // 2 frames before and D // 2 after: an output sees one frame more
of the future than of the past.

Modules are stem, dense1_0_a, dense1_0_b, ..., ttl1_t1, ttl1_t3, ttl1_t6, transition1, ..., norm,
head. Stages are stem, dense1, ..., each before its transition, and last, behind the last norm.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.conv3d_layers import Conv3D, NamedPadding
from vqlab.nn.norm import BatchNorm
from vqlab.nn.patches3d import Triple
from vqlab.video.layers import Features, Heads, answer, check, halve, max_pool, unit_of


class _NormConv(nn.Module):
  """Norm, ReLU, convolution; modules norm and conv."""

  features: int
  kernel_size: Triple
  padding: NamedPadding
  norm: dict[str, Any]
  types: dict[str, Any]

  @nn.compact
  def __call__(self, x: jax.Array, **call: Any) -> jax.Array:
    x = nn.relu(BatchNorm(name="norm", **self.norm, **self.types)(x, **call))
    conv = Conv3D(self.features, self.kernel_size, padding=self.padding, name="conv", **self.types)
    return conv(x)


class DenseNet3D(nn.Module):
  """DenseNet3D or T3D; the fields that all networks have: see `vqlab/video/layers.py`.

  Attributes:
    depths: layers of the dense blocks.
    growth: channels a layer appends.
    bottleneck: channels between a layer's convolutions for each that it appends.
    stem_width, stem_size, stem_stride: of the first convolution.
    stem_pool_stride: of the 3x3x3 max-pool after it.
    transition_pool: what a transition takes the mean of.
    ttl: lengths in time of the temporal transition layers' kernels, by block; (): none.
    ttl_width: channels of each of them.
  """

  num_classes: int = 400
  depths: tuple[int, ...] = (6, 12, 24, 16)
  growth: int = 32
  bottleneck: int = 4
  stem_width: int = 64
  stem_size: Triple = (3, 7, 7)
  stem_stride: Triple = (2, 2, 2)
  stem_pool_stride: Triple = (2, 2, 2)
  transition_pool: Triple = (2, 2, 2)
  ttl: tuple[tuple[int, ...], ...] = ()
  ttl_width: int = 128
  head: Heads = "global"
  pool: Triple = (0, 7, 7)
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
    check(self, clip)
    needed = len(self.depths) - 1
    if self.ttl and len(self.ttl) != needed:
      raise ValueError(f"DenseNet3D: ttl needs {needed} entries, or none; found {len(self.ttl)}")
    call = {"train": train, "axis_name": axis_name}
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    norm = {"momentum": self.momentum, "epsilon": self.epsilon}

    def unit(x: jax.Array, width: int, size: Triple, name: str) -> jax.Array:
      return _NormConv(width, size, self.padding, norm, types, name=name)(x, **call)

    stem = unit_of(self)(self.stem_width, self.stem_size, stride=self.stem_stride, name="stem")
    x = stem(clip.astype(self.dtype), **call)
    x = max_pool(x, (3, 3, 3), self.stem_pool_stride, self.padding)
    stages = {"stem": x}
    for i, depth in enumerate(self.depths, 1):
      for j in range(depth):
        y = unit(x, self.bottleneck * self.growth, (1, 1, 1), f"dense{i}_{j}_a")
        y = unit(y, self.growth, (3, 3, 3), f"dense{i}_{j}_b")
        x = jnp.concatenate([x, y], axis=-1)
      stages[f"dense{i}"] = x
      if i == len(self.depths):
        break
      if self.ttl:
        sizes = ((t, 1, 1) if t == 1 else (t, 3, 3) for t in self.ttl[i - 1])
        branches = [unit(x, self.ttl_width, size, f"ttl{i}_t{size[0]}") for size in sizes]
        x = jnp.concatenate(branches, axis=-1)
      x = unit(x, x.shape[-1] // 2, (1, 1, 1), f"transition{i}")
      x = halve(x, self.transition_pool)
    x = stages["last"] = nn.relu(BatchNorm(name="norm", **norm, **types)(x, **call))
    return answer(self, stages, (x,), (self.pool,), train=train, rows=rows, features=features)
