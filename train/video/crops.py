"""What a network sees of clips: resizing, crops, flips and scaling, on the device.

A kind of crops is a frozen dataclass that makes boxes; `Crops.train` and `Crops.test` cut them.
"""

import dataclasses

import jax
import jax.numpy as jnp

from train.fields import field
from vqlab.video import views
from vqlab.video.views import Box

COUNTS = {"centre": 1, "three": 3, "five": 5, "ten": 10}


@dataclasses.dataclass(frozen=True)
class Crops:
  """What every kind has."""

  size: int = field(224, least=1)
  """Height and width of what the network is trained on."""
  test_size: int = field(0, least=0)
  """Height and width of what it is judged by; 0: size."""
  flip: float = field(0.5, least=0, most=1)
  """How often a clip is flipped, left for right, in training."""
  mean: tuple[float, ...] = field((0.45, 0.45, 0.45))
  """Of each channel of [0, 1], subtracted; one number is for all."""
  std: tuple[float, ...] = field((0.225, 0.225, 0.225), least=1e-6)
  """Of each channel, by which it is divided then; one number is for all."""
  bgr: bool = field(False)
  """Channels the other way round, as networks from Caffe or OpenCV expect them."""

  def check(self, *, channels: int) -> None:
    """Raises ValueError where there are not as many means as channels."""
    for name in ("mean", "std"):
      if len(found := getattr(self, name)) not in (1, channels):
        raise ValueError(
          f"crops.{name} has {len(found)} numbers for {channels} channels; give 1, or as many"
        )

  def smaller(self, factor: float) -> "Crops":
    """The same of frames at another scale, to train on."""
    return dataclasses.replace(self, size=max(1, round(self.size * factor)))

  def box(self, key: jax.Array, size: jax.Array) -> Box:
    """What is cut of a frame of a size i32[2] in training."""
    raise NotImplementedError

  def boxes(self, size: jax.Array, kind: str) -> Box:
    """What is cut of a frame in an evaluation by crops of a kind, with a leading axis."""
    raise NotImplementedError

  def train(self, clips: jax.Array, sizes: jax.Array, keys: jax.Array) -> jax.Array:
    """u8[B, T, H, W, C] -> f32[B, T, size, size, C]."""
    boxes = jax.vmap(self.box)(keys, sizes)
    return self._scaled(jax.vmap(lambda x, box: views.cut(x, box, self.size))(clips, boxes))

  def test(self, clips: jax.Array, boxes: Box) -> jax.Array:
    """u8[B, T, H, W, C], boxes [B] -> f32[B, T, test_size, test_size, C]."""
    return self._scaled(self.seen(clips, boxes))

  def seen(self, clips: jax.Array, boxes: Box) -> jax.Array:
    """As `test`, of [0, 255]: what a person would see."""
    return jax.vmap(lambda x, box: views.cut(x, box, self.judged))(clips, boxes)

  @property
  def judged(self) -> int:
    return self.test_size or self.size

  def _scaled(self, clips: jax.Array) -> jax.Array:
    clips = clips[..., ::-1] if self.bgr else clips
    return views.normalize(clips, jnp.asarray(self.mean), jnp.asarray(self.std))


@dataclasses.dataclass(frozen=True)
class Jitter(Crops):
  """Shorter sides of a random length, and random crops, as PySlowFast has them."""

  sides: tuple[int, ...] = field((256, 320), least=1)
  """Least and largest shorter side in training."""
  test_side: int = field(0, least=0)
  """Shorter side when judged; 0: that of the crop."""
  inverse: bool = field(False)
  """Draw one over the shorter side uniformly, not the side: smaller ones are likelier."""

  def smaller(self, factor: float) -> "Jitter":
    sides = tuple(max(1, round(side * factor)) for side in self.sides)
    return dataclasses.replace(super().smaller(factor), sides=sides)

  def box(self, key: jax.Array, size: jax.Array) -> Box:
    least, largest = min(self.sides), max(self.sides)
    sides = {"sides": (least, largest), "inverse": self.inverse}
    return views.random_box(key, size, self.size, flip=self.flip, **sides)

  def boxes(self, size: jax.Array, kind: str) -> Box:
    side = self.test_side or self.judged
    return views.fixed_boxes(size, self.judged, resize=side, kind=kind)


@dataclasses.dataclass(frozen=True)
class Resized(Crops):
  """Frames of one size, whatever their aspect, and random crops, as torchvision has them."""

  height: int = field(128, least=1)
  width: int = field(171, least=1)

  def smaller(self, factor: float) -> "Resized":
    height, width = (max(1, round(side * factor)) for side in (self.height, self.width))
    return dataclasses.replace(super().smaller(factor), height=height, width=width)

  def box(self, key: jax.Array, size: jax.Array) -> Box:
    to = (self.height, self.width)
    return views.random_box(key, size, self.size, resize=to, flip=self.flip)

  def boxes(self, size: jax.Array, kind: str) -> Box:
    return views.fixed_boxes(size, self.judged, resize=(self.height, self.width), kind=kind)


@dataclasses.dataclass(frozen=True)
class Corners(Resized):
  """Frames of one size, and crops of a few sizes at corners and centre, as TSN has them."""

  height: int = field(256, least=1)
  width: int = field(340, least=1)
  scales: tuple[float, ...] = field((1.0, 0.875, 0.75, 0.66), least=0.01, most=1)
  """Heights and widths of crops, as parts of the shorter side."""

  def box(self, key: jax.Array, size: jax.Array) -> Box:
    to = (self.height, self.width)
    return views.corner_box(key, size, self.size, resize=to, scales=self.scales, flip=self.flip)
