"""Clips of videos as examples: one of each in training, a few of each when evaluated."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from train.data.examples import Examples, words
from train.errors import BadInput
from train.report import console
from train.video.sampling import Sampling
from train.video.videos import Unreadable, Videos

_TRIES = 100  # videos in a row that can't be read, after which it is not the videos


class Clips(Examples):
  """Clips {"clip", "size", "label"} of videos: one of each in training, else `views` of them.

  clip   u8[T, H, W, C], or [V, T, H, W, C] when evaluated; frames smaller than the largest stand
         at the top left, their borders repeated
  size   i32[2], height and width of the frames
  label  i32[]
  action f32[T, A], or [V, T, A], where it is asked for: what was done before each frame
  whole  bool[]: False where the video could not be read, which then counts for nothing; in
         training another one takes its place
  """

  prefetch = 3

  def __init__(
    self, videos: Videos, sampling: Sampling, views: int = 1, *, with_actions: bool = False
  ):
    self._with_actions = with_actions
    self.videos, self.sampling, self.views, self.name = videos, sampling, views, videos.name
    self._threads = ThreadPoolExecutor(max(1, videos.num_threads), thread_name_prefix="clips")
    self._missed: dict[int, Unreadable] = {}

  def __len__(self) -> int:
    return len(self.videos)

  def read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, Any]:
    indices, drawn = np.array(indices), [None] * len(indices)
    lead = (len(indices), self.views) if draws is None else (len(indices),)
    clips = np.zeros((*lead, self.sampling.frames, *self.videos.shape), np.uint8)
    sizes = np.tile(np.int32(self.videos.shape[:2]), (len(indices), 1))
    actions = np.zeros((*clips.shape[:-3], self.videos.action_dim), np.float32)
    if draws is not None:
      drawn = (words(draws, self.sampling.frames + 1).T >> np.uint64(11)) * 2.0**-53

    def one(row: int) -> bool:
      tries = 1 if draws is None else min(_TRIES, len(self))
      for index in (indices[row] + np.arange(tries)) % len(self):
        if (found := self._frames(int(index), drawn[row])) is not None:
          frames, actions[row] = found
          indices[row], sizes[row] = index, frames.shape[-3:-1]
          _place(frames, clips[row])
          return True
      if draws is not None or len(self._missed) == len(self):
        tried = max(tries, len(self._missed))
        raise BadInput(f"{self.name}: {tried} videos were tried, and none can be read")
      return False

    whole = np.array(list(self._threads.map(one, range(len(indices)))))
    batch = {"clip": clips, "size": sizes, "label": self.videos.labels[indices], "whole": whole}
    return batch | ({"action": actions} if self._with_actions else {})

  def _frames(self, index: int, draws: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames and actions of a video's clip or clips; None where it can't be read."""
    total, fps = int(self.videos.frames[index]), float(self.videos.fps[index])
    if draws is None:
      positions = self.sampling.test(total, fps, self.views)
    else:
      positions = self.sampling.train(total, fps, draws)
    try:
      frames = self.videos.read(index, positions.ravel())
    except Unreadable as error:
      if self.videos.broken == "stop":
        raise
      if self._missed.setdefault(index, error) is error:  # the first of this video
        said = f"left out: {error} ({len(self._missed)} of {len(self)} so far)"
        console.print(said.encode(errors="backslashreplace").decode(), markup=False)
      return None
    actions = self.videos.actions(index, positions.ravel())
    return tuple(x.reshape(*positions.shape, *x.shape[1:]) for x in (frames, actions))


def _place(frames: np.ndarray, on: np.ndarray) -> None:
  """Frames at the top left of a larger space, their borders repeated."""
  height, width = frames.shape[-3:-1]
  on[..., :height, :width, :] = frames
  on[..., height:, :width, :] = frames[..., -1:, :, :]
  on[..., width:, :] = on[..., width - 1 : width, :]
