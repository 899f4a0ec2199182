"""Clips and figures of a classifier as a person looks at them."""

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


def confusion(counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
  """How often videos of a class (rows) are taken for another, i64[K, K]: a picture u8[H, W, 3]."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  side = min(4 + 0.22 * len(names), 14)
  figure = Figure(figsize=(side + 1, side), dpi=110, layout="constrained")
  canvas = FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  shown = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
  right = np.trace(counts) / max(counts.sum(), 1)
  axes.set(title=f"{counts.sum()} videos, {right:.1%} right", xlabel="predicted", ylabel="class")
  if len(names) <= 60:
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
  figure.colorbar(shown, label="% of the class' videos", shrink=0.8)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3].copy()
