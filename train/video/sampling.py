"""Which frames of a video a clip has: the ways of the published recipes, as parts of a config."""

import dataclasses

import numpy as np

from train.fields import field
from vqlab.video import sampling


@dataclasses.dataclass(frozen=True)
class Sampling:
  """Which frames of a video a clip has."""

  frames: int = field(16, least=1)
  """Frames of a clip."""

  def train(self, total: int, fps: float, u: np.ndarray) -> np.ndarray:
    """Positions i64[frames] of a clip to train on.

    Args:
      total, fps: frames of the video, and how many a second.
      u: f64[frames + 1] in [0, 1), what is random.
    """
    raise NotImplementedError

  def fewer(self, divisor: int) -> "Sampling":
    """Of clips with so many times fewer frames, to train on."""
    return dataclasses.replace(self, frames=max(1, self.frames // divisor))

  def test(self, total: int, fps: float, views: int) -> np.ndarray:
    """Positions i64[views, frames] of the clips by which a video is judged."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Window(Sampling):
  """A span of the video at a rate, as PySlowFast takes it."""

  stride: int = field(2, least=1)
  """Frames of the video, at its rate, from one of the clip to the next."""
  target_fps: float = field(0.0, least=0)
  """Frames a second that the stride is meant for, 30 in PySlowFast; 0: whatever the video has."""
  to_the_end: bool = field(False)
  """Judge a video by clips that reach its end (PySlowFast's USE_OFFSET_SAMPLING)."""

  def train(self, total: int, fps: float, u: np.ndarray) -> np.ndarray:
    return sampling.random_window(total, self.frames, self.stride, u[0], **self._rates(fps))

  def test(self, total: int, fps: float, views: int) -> np.ndarray:
    rates = self._rates(fps) | {"offsets": self.to_the_end}
    of = lambda i: sampling.test_window(total, self.frames, self.stride, i, views, **rates)
    return np.stack([of(i) for i in range(views)])

  def fewer(self, divisor: int) -> "Window":
    """Of spans of random lengths: from so many times shorter to as long."""
    few = super().fewer(divisor)
    return _Wider(**vars(few) | {"widest": divisor * self.stride}) if divisor > 1 else few

  def _rates(self, fps: float) -> dict[str, float]:
    return {"fps": fps, "target_fps": self.target_fps} if self.target_fps else {}


@dataclasses.dataclass(frozen=True)
class _Wider(Window):
  """A window of a random stride, as PySlowFast's multigrid training takes clips of fewer frames."""

  widest: int = field(1, least=1)

  def train(self, total: int, fps: float, u: np.ndarray) -> np.ndarray:
    stride = self.stride + int(u[1] * (self.widest - self.stride + 1))
    return sampling.random_window(total, self.frames, stride, u[0], **self._rates(fps))


@dataclasses.dataclass(frozen=True)
class Resampled(Sampling):
  """Frames in a row of the video at another rate, as torchvision takes them."""

  rate: float = field(15.0, least=1e-3)
  """Frames a second."""

  def train(self, total: int, fps: float, u: np.ndarray) -> np.ndarray:
    return sampling.random_resampled(total, self.frames, u[0], fps=fps, rate=self.rate)

  def test(self, total: int, fps: float, views: int) -> np.ndarray:
    rates = {"fps": fps, "rate": self.rate}
    of = lambda i: sampling.test_resampled(total, self.frames, i, views, **rates)
    return np.stack([of(i) for i in range(views)])


@dataclasses.dataclass(frozen=True)
class Segments(Sampling):
  """A frame of each of so many equal parts, as PySlowFast takes Something-Something's.

  Judged by the middles: more views than one are the same.
  """

  def train(self, total: int, fps: float, u: np.ndarray) -> np.ndarray:
    return sampling.segments(total, self.frames, u[: self.frames])

  def test(self, total: int, fps: float, views: int) -> np.ndarray:
    return np.tile(sampling.segments(total, self.frames), (views, 1))


@dataclasses.dataclass(frozen=True)
class Snippets(Sampling):
  """A frame of each of so many parts, as TSN and mmaction2 take them.

  Judged by frames at even distances: more views than one are the same.
  """

  def train(self, total: int, fps: float, u: np.ndarray) -> np.ndarray:
    return sampling.random_snippets(total, self.frames, u[: self.frames])[:, 0]

  def test(self, total: int, fps: float, views: int) -> np.ndarray:
    return np.tile(sampling.test_snippets(total, self.frames)[:, 0], (views, 1))


@dataclasses.dataclass(frozen=True)
class Dense(Sampling):
  """Frames spread over a span of the video, past its end from its start again, as mmaction2's."""

  span: int = field(64, least=1)
  """Frames of the video that a clip is spread over."""

  def train(self, total: int, fps: float, u: np.ndarray) -> np.ndarray:
    return sampling.random_dense(total, self.frames, u[0], span=self.span)

  def test(self, total: int, fps: float, views: int) -> np.ndarray:
    of = lambda i: sampling.test_dense(total, self.frames, i, views, span=self.span)
    return np.stack([of(i) for i in range(views)])
