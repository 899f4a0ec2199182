"""Multigrid training: large batches of coarse clips first, then smaller ones of finer clips.

    Wu, Girshick, He, Feichtenhofer, Krähenbühl 2019, arXiv 1912.00998.

A round has four parts of as many steps, by which frames, area and batch are multiplied

    frames   1/4   1/2   1/2    1
    area     1/2   1/2    1     1
    batch     8     4     2     1        the learning rate as well

and from step to step the area by 1/4, 1/2 and 1, the batch by 4, 2 and 1: a step costs the same
whatever its shape. So a batch's shape tells the size of its crops.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from train.data.examples import Examples
from train.video.clips import Clips

_FRAMES, _AREA, _SHORT = np.array([4, 2, 2, 1]), np.array([2, 2, 1, 1]), np.array([4, 2, 1])


class Grid(NamedTuple):
  """The shapes of a stage's steps."""

  rounds: int
  steps: int

  def part(self, step: np.ndarray) -> np.ndarray:
    """Which of the four parts of its round a step is in."""
    return (4 * self.rounds * np.minimum(step, self.steps - 1) // self.steps) % 4

  def frames(self, step: np.ndarray) -> np.ndarray:
    """What frames are divided by."""
    return _FRAMES[self.part(step)]

  def area(self, step: np.ndarray) -> np.ndarray:
    """What the area is divided by."""
    return _AREA[self.part(step)] * _SHORT[step % 3]

  def batch(self, step: np.ndarray) -> np.ndarray:
    """What the batch is multiplied by."""
    return self.frames(step) * self.area(step)

  def rate(self) -> optax.Schedule:
    """What the learning rate is multiplied by."""
    starts = np.arange(1, 4 * self.rounds) * self.steps / (4 * self.rounds)
    factors = jnp.tile(jnp.asarray(_FRAMES * _AREA, jnp.float32), self.rounds)
    bounds = jnp.asarray(np.ceil(starts), jnp.int32)
    return lambda step: factors[jnp.searchsorted(bounds, step, side="right")]


class MultigridClips(Clips):
  """Clips of the shapes of a grid: batch k goes on in the sequence where k - 1 ended."""

  def __init__(self, clips: Clips, grid: Grid):
    super().__init__(clips.videos, clips.sampling)
    factors = grid.batch(np.arange(grid.steps))
    self._grid, self._before = grid, np.concatenate([[0], np.cumsum(factors)])
    self._coarse = functools.cache(self._made)

  def part(self, k: int, batch_size: int) -> tuple[Examples, int, int]:
    step = min(k, self._grid.steps - 1)
    factor = int(self._grid.batch(np.asarray(step)))
    first = int(self._before[step]) + (k - step) * factor
    clips = self._coarse(int(self._grid.frames(step)), int(self._grid.area(np.asarray(step))))
    return clips, first * batch_size, factor * batch_size

  def _made(self, frames: int, area: int) -> Clips:
    videos = self.videos.smaller(area**-0.5)
    return Clips(videos, self.sampling.fewer(frames))
