"""Videos by index, whose frames are read by their positions: what a source of videos opens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from train.errors import BadInput


class Unreadable(BadInput):
  """A file is no video, has no video stream, or is broken; str() is "PATH: reason"."""


def leading(done: np.ndarray, positions: np.ndarray) -> np.ndarray:
  """What led to frames, by what was done after each of a video's: f32[T, A]; zeros to the first."""
  earlier = done[np.maximum(positions - 1, 0)]
  return np.where(positions[:, None] > 0, earlier, 0).astype(np.float32)


class Facts(NamedTuple):
  """What a look at a video tells."""

  frames: int  # their positions are 0 to frames - 1
  fps: float  # frames a second; where that varies, on average
  height: int  # upright, in pixels as they are stored, whatever their aspect ratio
  width: int

  def scaled(self, short_side: int | None) -> "Facts":
    """Of the video whose shorter side is scaled to so many pixels; None: as it is."""
    if short_side is None:
      return self
    short = min(self.height, self.width)
    height, width = (x * short_side // short for x in (self.height, self.width))
    return self._replace(height=height, width=width)


class Videos:
  """A split; positions count from the first frame of a video, or of the split's part of it."""

  name = "the videos"  # for messages
  num_threads = 1  # that reading is worth
  broken = "skip"  # or "stop": what to do with a video that can't be read
  left_out = 0  # videos that the split should have, but which can't be read
  action_dim = 0  # A, numbers that tell what was done between two frames

  def __init__(
    self,
    names: Sequence[str],
    labels: np.ndarray,
    class_names: Sequence[str],
    facts: Sequence[Facts],
    *,
    channels: int = 3,
  ):
    self.names, self.class_names = tuple(names), tuple(class_names)
    self.labels = np.asarray(labels, np.int32)  # [N]
    self.frames = np.array([f.frames for f in facts], np.int64)  # [N]
    self.fps = np.array([f.fps for f in facts])  # [N]
    sizes = np.array([f[2:] for f in facts])
    self.shape = (*map(int, sizes.max(0)), channels)  # H, W, C, in which every frame fits
    self.one_size = bool((sizes == sizes[0]).all())

  def __len__(self) -> int:
    return len(self.names)

  def smaller(self, factor: float) -> "Videos":
    """The same, with frames scaled by a factor below 1 where that spares something."""
    return self

  def read(self, index: int, positions: np.ndarray) -> np.ndarray:
    """Frames u8[T, h, w, C] of a video, h and w of its own; called from several threads.

    Args:
      positions: i64[T], each 0..frames[index]-1, in any order.

    Raises:
      Unreadable: they can't be read.
    """
    raise NotImplementedError

  def actions(self, index: int, positions: np.ndarray) -> np.ndarray:
    """What was done between each of the frames and the one before it in the video: f32[T, A].

    Zeros for the first frame of the video.
    """
    return np.zeros((len(positions), self.action_dim), np.float32)


class Arrays(Videos):
  """Videos that are in memory."""

  def __init__(
    self,
    names: Sequence[str],
    labels: np.ndarray,
    class_names: Sequence[str],
    frames: Sequence[np.ndarray],  # u8[T, H, W, C] each
    fps: float,
    done: Sequence[np.ndarray] | None = None,  # f32[T, A] each: what was done after each frame
  ):
    self._frames, self._done = frames, done
    self.action_dim = 0 if done is None else done[0].shape[-1]
    facts = [Facts(len(x), fps, *x.shape[1:3]) for x in frames]
    super().__init__(names, labels, class_names, facts, channels=frames[0].shape[-1])

  def read(self, index: int, positions: np.ndarray) -> np.ndarray:
    return self._frames[index][positions]

  def actions(self, index: int, positions: np.ndarray) -> np.ndarray:
    if self._done is None:
      return super().actions(index, positions)
    return leading(self._done[index], positions)


class Part(Videos):
  """A part in time of each of some videos."""

  def __init__(self, videos: Videos, start: np.ndarray, stop: np.ndarray):
    """`start`, `stop`: i64[N], positions of each video, the latter not in it."""
    self._whole, self._start, self._stop = videos, start, stop
    height, width, channels = videos.shape
    facts = [Facts(n, fps, height, width) for n, fps in zip(stop - start, videos.fps, strict=True)]
    super().__init__(videos.names, videos.labels, videos.class_names, facts, channels=channels)
    self.num_threads, self.broken = videos.num_threads, videos.broken
    self.left_out, self.action_dim = videos.left_out, videos.action_dim
    self.one_size = videos.one_size

  def read(self, index: int, positions: np.ndarray) -> np.ndarray:
    return self._whole.read(index, self._start[index] + positions)

  def actions(self, index: int, positions: np.ndarray) -> np.ndarray:
    return self._whole.actions(index, self._start[index] + positions)

  def smaller(self, factor: float) -> "Part":
    return Part(self._whole.smaller(factor), self._start, self._stop)
