"""Images as a person looks at them: many on one sheet."""

import math
from collections.abc import Sequence

import numpy as np


def sheet(images: np.ndarray | Sequence[np.ndarray], columns: int, *, scale: int = 0) -> np.ndarray:
  """Images u8[N, H, W, C] on one sheet u8[H', W', 3], in rows, enlarged where they are small."""
  images = np.asarray(images)
  if images.shape[-1] == 1:
    images = np.repeat(images, 3, axis=-1)
  scale = scale or max(1, math.ceil(48 / images.shape[1]))
  images = images.repeat(scale, axis=1).repeat(scale, axis=2)
  gap = max(2, scale)
  n, height, width, _ = images.shape
  rows = -(-n // columns)
  out = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
  for i, image in enumerate(images):
    y, x = (i // columns) * (height + gap) + gap, (i % columns) * (width + gap) + gap
    out[y : y + height, x : x + width] = image
  return out


def rows(*sets: np.ndarray, columns: int) -> np.ndarray:
  """Sets of images u8[N, H, W, C] on a sheet: a row of the first over the same of the others."""
  stacked = np.stack(sets)
  blank = np.full((len(sets), -stacked.shape[1] % columns, *stacked.shape[2:]), 255, np.uint8)
  stacked = np.concatenate([stacked, blank], axis=1)
  lines = stacked.reshape(len(sets), -1, columns, *stacked.shape[2:]).swapaxes(0, 1)
  return sheet(lines.reshape(-1, *stacked.shape[2:]), columns)
