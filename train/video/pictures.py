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
