"""Clips as a person looks at them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_COLUMNS, _HEIGHT, _GAP, _LINE = 8, 96, 4, 18


def contact_sheet(lines: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
  """A caption over each clip u8[T, H, W, 1 or 3], up to 8 frames of it side by side: u8[H', W', 3].

  Frames are brought to a height of 96 pixels.
  """
  rows = [(said, _frames(clip)) for said, clip in lines]
  font = ImageFont.load_default(13)
  width = max(sum(x.width + _GAP for x in frames) for _, frames in rows)
  width = max(width, *(int(font.getlength(said)) for said, _ in rows)) + 2 * _GAP
  sheet = Image.new("RGB", (width, len(rows) * (_HEIGHT + _LINE + _GAP) + _GAP), "white")
  draw = ImageDraw.Draw(sheet)
  for i, (said, frames) in enumerate(rows):
    top, left = _GAP + i * (_HEIGHT + _LINE + _GAP), _GAP
    draw.text((left, top), said, "black", font)
    for frame in frames:
      sheet.paste(frame, (left, top + _LINE))
      left += frame.width + _GAP
  return np.asarray(sheet)


def _frames(clip: np.ndarray) -> list[Image.Image]:
  shown = np.unique(np.linspace(0, len(clip) - 1, _COLUMNS).round().astype(int))
  frames = [Image.fromarray(clip[t][..., 0] if clip.shape[-1] == 1 else clip[t]) for t in shown]
  size = (max(1, round(clip.shape[2] * _HEIGHT / clip.shape[1])), _HEIGHT)
  way = Image.Resampling.NEAREST if clip.shape[1] < _HEIGHT else Image.Resampling.BICUBIC
  return [frame.resize(size, way).convert("RGB") for frame in frames]


def side_by_side(name: str, *sets: np.ndarray) -> dict[str, np.ndarray]:
  """Sets of clips u8[N, T, H, W, C] that go together, by file: NAME.png and, moving, NAME.gif.

  The sheet has the frames of a clip in a row, the first set's over the others'; in the moving
  picture clips stand beside each other.
  """
  clips = np.stack(sets, axis=1)  # [N, sets, T, H, W, C]
  clips = np.repeat(clips, 3, axis=-1) if clips.shape[-1] == 1 else clips
  scale = max(1, -(-56 // clips.shape[3]))
  clips = clips.repeat(scale, axis=3).repeat(scale, axis=4)
  gap = ((0, _GAP // 2),) * 2
  tiles = np.pad(clips, ((0, 0), (0, 0), (0, 0), *gap, (0, 0)), constant_values=255)
  rows = tiles.transpose(0, 1, 3, 2, 4, 5)  # clip, set, height, frame, width
  rows = rows.reshape(*rows.shape[:3], -1, 3)
  rows = np.pad(rows.reshape(len(clips), -1, *rows.shape[3:]), ((0, 0), (0, _GAP), (0, 0), (0, 0)))
  moving = tiles.transpose(2, 1, 3, 0, 4, 5)  # frame, set, height, clip, width
  moving = moving.reshape(moving.shape[0], -1, moving.shape[3] * moving.shape[4], 3)
  return {f"{name}.png": rows.reshape(-1, *rows.shape[2:]), f"{name}.gif": moving}
