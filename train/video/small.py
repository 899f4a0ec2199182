"""Small networks of four families, for clips of about 8 frames of 32 to 64 pixels a side."""

import dataclasses
from typing import Any

from flax import linen as nn

from train.fields import field
from train.video.networks import Network
from vqlab import video


@dataclasses.dataclass(frozen=True)
class SmallX3D(Network):
  """X3D of three stages."""

  width: int = field(12, least=4)
  """Channels of the first stage."""
  temporal: int = field(3, least=1)
  """Length in time of the blocks' kernels; 1: all kernels have 1, which leaves no sense of time."""

  def make(self, num_classes: int, **fields: Any) -> nn.Module:
    stages = {
      "stem_width": self.width,
      "stem_size": (5 if self.temporal > 1 else 1, 3, 3),
      "stem_stride": (1, 1, 1),
      "block_size": (self.temporal, 3, 3),
      "widths": (self.width, 2 * self.width, 4 * self.width),
      "depths": (1, 2, 2),
      "strides": ((1, 2, 2),) * 3,
      "hidden": 128,
    }
    return video.create("x3d_s", num_classes, dropout=self.dropout, **stages, **fields)


@dataclasses.dataclass(frozen=True)
class SmallSlowFast(Network):
  """SlowFast of three stages, a block each, the slow pathway on half of the frames."""

  width: int = field(16, least=4)
  """Channels of the slow pathway's stem; the fast one has a quarter."""

  def make(self, num_classes: int, **fields: Any) -> nn.Module:
    stages = {
      "width": self.width,
      "beta": 4,
      "alpha": 2,
      "fusion_size": 5,
      "depths": (1, 1, 1),
      "strides": ((1, 1, 1), (1, 2, 2), (1, 2, 2)),
      "slow_temporal": ((1,), (3,), (3,)),
      "fast_temporal": ((3,), (3,), (3,)),
      "slow_stem": (1, 5, 5),
      "fast_stem": (5, 5, 5),
      "pool": (0, 0),
    }
    return video.create("slowfast_8x8_r50", num_classes, dropout=self.dropout, **stages, **fields)


@dataclasses.dataclass(frozen=True)
class SmallR2Plus1D(Network):
  """R(2+1)D of three stages, a block each."""

  width: int = field(16, least=4)
  """Channels of the stem."""

  def make(self, num_classes: int, **fields: Any) -> nn.Module:
    stages = {
      "width": self.width,
      "depths": (1, 1, 1),
      "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2)),
      "temporal": ((3,),) * 3,
      "stem_size": (3, 5, 5),
      "stem_middle": self.width,
    }
    return video.create("r2plus1d_18", num_classes, dropout=self.dropout, **stages, **fields)


@dataclasses.dataclass(frozen=True)
class SmallI3D(Network):
  """I3D of two stages, three blocks in all, time halved once."""

  part: float = field(0.25, least=0.05)
  """Part of I3D's channels."""

  def make(self, num_classes: int, **fields: Any) -> nn.Module:
    stages = {
      "width": self.part,
      "stem_frames": 5,
      "stem_stride": (1, 2, 2),
      "pools": ((1, 3, 3), (1, 3, 3), (3, 3, 3)),
      "pool_strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
      "blocks": (
        ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
        ((192, 96, 208, 16, 48, 64),),
      ),
      "pool": (0, 0, 0),
      "momentum": 0.9,
    }
    return video.create("i3d", num_classes, dropout=self.dropout, **stages, **fields)
