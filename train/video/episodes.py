"""Frames in a row, with what was done between them: what is predicted from, and what."""

import dataclasses
from typing import Any

import numpy as np

from train.errors import BadInput
from train.video.clips import Clips
from train.video.sampling import Sampling
from train.video.videos import Videos


@dataclasses.dataclass(frozen=True)
class InARow(Sampling):
  """Frames in a row, from anywhere in training, from the middle when a video is judged."""

  def train(self, total: int, fps: float, u: np.ndarray) -> np.ndarray:
    return int(u[0] * (total - self.frames + 1)) + np.arange(self.frames)

  def test(self, total: int, fps: float, views: int) -> np.ndarray:
    return np.tile((total - self.frames) // 2 + np.arange(self.frames), (views, 1))


class Episodes(Clips):
  """Examples {"clip" u8[T, H, W, C], "action" f32[T, A], "label", "size", "whole"}; see `Clips`."""

  def __init__(self, videos: Videos, frames: int):
    """Raises BadInput where a video has fewer frames, or frames of another size."""
    super().__init__(videos, InARow(frames), with_actions=True)
    if not videos.one_size:
      height, width, _ = videos.shape
      raise BadInput(
        f"{videos.name}: frames are of several sizes, the largest {height}x{width}; what is "
        "predicted must be of one (data.short_side scales them)"
      )
    short = np.flatnonzero(videos.frames < frames)
    if len(short):
      raise BadInput(
        f"{videos.name}: {len(short)} of {len(videos)} have fewer than {frames} frames, "
        f"such as {videos.names[short[0]]} with {videos.frames[short[0]]}"
      )

  def read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, Any]:
    batch = super().read(indices, draws)
    if draws is None:  # one view
      batch |= {name: batch[name][:, 0] for name in ("clip", "action")}
    return batch
