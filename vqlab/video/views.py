"""What a network sees of a clip: what is cut of it, its values scaled; the mean score of views.

A clip of bytes lies on a canvas [T, H, W, C], which may be larger than its frames, size [2] =
(height, width), as a batch of videos needs it: the pixels are at the top left, and beyond them
those of the border are repeated. Sizes may be traced: all is for jit and vmap.

    boxes = jax.vmap(lambda key, size: random_box(key, size, 224))(keys, sizes)
    clips = normalize(jax.vmap(lambda clip, box: cut(clip, box, 224))(clips, boxes), 0.45, 0.225)

`size` is a frame's, i32[2]; `crop` the height and width of what is cut, a number or a pair;
`resize` what a frame is resized to before, a number its shorter side, a pair its height and width,
whatever its aspect; `flip` how likely a box is flipped.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from vqlab.nn.checks import one_of
from vqlab.nn.dtypes import at_least_float32

Size = int | tuple[int, int]
Kind = Literal["centre", "three", "five", "ten"]


class Box(NamedTuple):
  """What is cut of a frame, in pixels before it is resized: resizing and cropping are one.

  The crop of c x c pixels at (y, x) of a frame of H x W pixels resized to h x w is the box at
  (y H / h, x W / w) of height c H / h and width c W / w.
  """

  top: jax.Array  # f32[...]
  left: jax.Array  # f32[...]
  height: jax.Array  # f32[...]
  width: jax.Array  # f32[...]
  flip: jax.Array  # bool[...], left for right


def short_side(size: ArrayLike, side: ArrayLike) -> jax.Array:
  """The size of a frame whose shorter side becomes `side`, i32[2]; the other is rounded down.

  PySlowFast's, in whole numbers: its float64 makes the longer side 1 less for 0.06% of sizes.
  """
  size = jnp.asarray(size, jnp.int32)
  return size * jnp.asarray(side, jnp.int32) // jnp.min(size)


def random_box(
  key: jax.Array,
  size: ArrayLike,
  crop: Size,
  *,
  sides: tuple[int, int] = (256, 320),
  inverse: bool = False,
  resize: Size | None = None,
  flip: float = 0.5,
) -> Box:
  """PySlowFast's scale jitter, random crop and flip; with `resize` torchvision's, without jitter.

  Args:
    crop: what is cut of the resized frame; every place is as likely, where PySlowFast's never has
      the last row and column.
    sides: least and largest shorter side, round(uniform(least, largest)).
    inverse: round(1 / uniform(1 / largest, 1 / least)) instead: smaller sides are likelier.
    resize: what every frame is resized to instead of `sides`; torchvision's video networks had
      (128, 171) with crops of 112.

  Raises:
    ValueError: the crop is larger than a resized frame may be.
  """
  _fits("random_box", crop, min(sides) if resize is None else resize)
  key_side, key_place, key_flip = jax.random.split(key, 3)
  if resize is None:
    least, largest = (1 / max(sides), 1 / min(sides)) if inverse else sides
    side = jax.random.uniform(key_side, (), jnp.float32, least, largest)
    resize = jnp.rint(1 / side if inverse else side)
  resized = _resized(size, resize)
  place = jax.random.randint(key_place, (2,), 0, resized - _pair(crop) + 1)
  return _box(size, resized, place, crop, jax.random.bernoulli(key_flip, flip))


def corner_box(
  key: jax.Array,
  size: ArrayLike,
  crop: Size,
  *,
  resize: tuple[int, int] = (256, 340),
  scales: tuple[float, ...] = (1, 0.875, 0.75, 0.66),
  more: bool = True,
  apart: int = 1,
  flip: float = 0.5,
) -> Box:
  """TSN's MultiScaleCrop: a crop of one of a few sizes at one of a few places, each as likely.

  Its height and width are whole parts of min(resize) times two of the scales, those less than 3
  pixels from the crop the crop's; it lies at a corner or in the centre, which are 0, 2 or 4
  floor(room / 4) from the top and the left.

  Args:
    crop: what the box will be cut to.
    resize: what the frame is resized to first.
    scales: of heights and of widths.
    more: 13 places instead of 5: the middles of the sides and of the quarters as well.
    apart: how far from each other in the list the scales of height and width may be.

  Raises:
    ValueError: a crop is larger than the resized frame.
  """
  table = _corners(_pair(crop), resize, scales, more, apart)
  _fits("corner_box", table[:, 2:].max(axis=0), resize)
  key_place, key_flip = jax.random.split(key)
  drawn = jnp.asarray(table)[jax.random.randint(key_place, (), 0, len(table))]
  return _box(size, resize, drawn[:2], drawn[2:], jax.random.bernoulli(key_flip, flip))


def fixed_boxes(size: ArrayLike, crop: Size, *, resize: Size, kind: Kind = "centre") -> Box:
  """The boxes of an evaluation, with a leading axis [V].

  "centre"    1, at ceil(room / 2) as PySlowFast has it (torchvision: halves to even)
  "three"     PySlowFast's, along the longer side of the resized frame: start, centre, end
  "five"      the corners, top left, top right, bottom left, bottom right, and the centre
  "ten"       "five", and all of them flipped (the Caffe tests of two-stream networks on UCF101 had
              the centre of 256 x 340 frames 60 pixels from the left; here it is 58)

  Args:
    crop: what is cut of the resized frame.
    resize: what the frame is resized to; PySlowFast's three are `resize=crop`.
    kind: which.

  Raises:
    ValueError: another kind, or the crop is larger than the resized frame.
  """
  one_of("fixed_boxes: kind", kind, ("centre", "three", "five", "ten"))
  _fits("fixed_boxes", crop, resize)
  resized = _resized(size, resize)
  room = resized - _pair(crop)
  centre = (room + 1) // 2
  if kind == "three":
    tall = resized[0] > resized[1]
    along = jnp.stack([tall, ~tall])
    places = [jnp.where(along, 0, centre), centre, jnp.where(along, room, centre)]
  else:
    corners = [room * np.array(at, np.int32) for at in ((0, 0), (0, 1), (1, 0), (1, 1))]
    places = [centre] if kind == "centre" else [*corners, centre]
  flip = np.repeat([False, True], len(places)) if kind == "ten" else np.zeros(len(places), bool)
  places = jnp.stack(places * 2 if kind == "ten" else places)
  return _box(size, resized, places, crop, jnp.asarray(flip))


def cut(clip: jax.Array, box: Box, crop: Size) -> jax.Array:
  """The box of every frame at another size: [T, H, W, C] -> f32[T, crop, crop, C], values kept.

  Bilinear between centres of pixels, nothing smoothed where frames become smaller, as
  `torch.nn.functional.interpolate(align_corners=False)` and a crop after it.

  Raises:
    ValueError: the clip is not [T, H, W, C].
  """
  if clip.ndim != 4:
    raise ValueError(f"cut: a clip must be [T, H, W, C]; found {list(clip.shape)}")
  crop = _pair(crop)
  scale = crop.astype(np.float32) / jnp.stack([box.height, box.width])
  x = jax.image.scale_and_translate(
    clip.astype(jnp.float32),
    (clip.shape[0], *crop.tolist(), clip.shape[3]),
    (1, 2),
    scale,
    -scale * jnp.stack([box.top, box.left]),
    "linear",
    antialias=False,
    precision=lax.Precision.HIGHEST,
  )
  return jnp.where(box.flip, x[:, :, ::-1], x)


def normalize(clip: jax.Array, mean: ArrayLike, std: ArrayLike) -> jax.Array:
  """(clip / 255 - mean) / std of values in [0, 255], float32 at least; mean and std [C] or []."""
  dtype = at_least_float32(clip.dtype)
  mean, std = (jnp.asarray(a, dtype) for a in (mean, std))
  return (clip.astype(dtype) / 255 - mean) / std


def mean_scores(
  logits_of: Callable[[Any], jax.Array],
  views: Any,
  *,
  average: Literal["softmax", "logits"] = "softmax",
) -> jax.Array:
  """The mean of the scores of some views, one after another, in the memory of one: f32[B, K].

  Args:
    logits_of: a view -> [B, K], or dense [B, T', H', W', K], of which the mean is taken as well.
    views: a pytree with a leading axis [V]: clips, or the boxes that `logits_of` cuts.
    average: "softmax" of probabilities, "logits" of logits.

  Raises:
    ValueError: another average.
  """
  one_of("mean_scores: average", average, ("softmax", "logits"))

  def scores_of(view: Any) -> jax.Array:
    logits = logits_of(view)
    scores = logits.astype(at_least_float32(logits.dtype))
    if average == "softmax":
      scores = jax.nn.softmax(scores)
    return jnp.mean(scores, axis=tuple(range(1, scores.ndim - 1)))

  count = len(jax.tree.leaves(views)[0])
  scores = jax.eval_shape(scores_of, jax.tree.map(lambda x: x[0], views))
  total, _ = lax.scan(
    lambda total, view: (total + scores_of(view), None),
    jnp.zeros(scores.shape, scores.dtype),
    views,
  )
  return total / count


def _pair(size: Size) -> np.ndarray:
  return np.broadcast_to(np.asarray(size, np.int32), (2,))


def _resized(size: ArrayLike, resize: ArrayLike) -> jax.Array:
  return short_side(size, resize) if np.ndim(resize) == 0 else jnp.asarray(resize, jnp.int32)


def _fits(name: str, crop: ArrayLike, resize: ArrayLike) -> None:
  if np.any(np.asarray(crop) > np.asarray(resize)):
    raise ValueError(f"{name}: a crop of {crop} is larger than a frame resized to {resize}")


def _box(
  size: ArrayLike, resized: ArrayLike, place: jax.Array, crop: ArrayLike, flip: jax.Array
) -> Box:
  """Crops at places [..., 2] of a frame resized, in its own pixels."""
  size, resized, crop = (jnp.asarray(a, jnp.float32) for a in (size, resized, crop))
  scale = size / resized
  place = place.astype(jnp.float32) * scale
  extent = jnp.broadcast_to(crop * scale, place.shape)
  return Box(place[..., 0], place[..., 1], extent[..., 0], extent[..., 1], flip)


def _corners(
  crop: np.ndarray, resize: tuple[int, int], scales: tuple[float, ...], more: bool, apart: int
) -> np.ndarray:
  """Every crop that `corner_box` may draw, (top, left, height, width): i32[N, 4]."""
  quarters = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
  if more:
    quarters += [(0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (1, 3), (3, 1), (3, 3)]
  sizes = np.array([int(min(resize) * scale) for scale in scales])
  heights, widths = (np.where(np.abs(sizes - c) < 3, c, sizes) for c in crop)
  table = []
  for i, height in enumerate(heights):
    for width in widths[max(i - apart, 0) : i + apart + 1]:
      down, right = (resize[0] - height) // 4, (resize[1] - width) // 4
      table += [(y * down, x * right, height, width) for y, x in quarters]
  return np.array(table, np.int32)
