"""Which frames of a video a clip has, as published training and evaluation chose them.

Functions of numbers, for the host, before anything is decoded: `total` frames of a video -> i64
indices of frames in [0, total). Draws are arguments: u, in [0, 1). `random_` is for training;
`test_`, clip i of some `views`, or all of a video's snippets, for evaluation.

window      PySlowFast: a span of the video at another frame rate, frames spread over it
resampled   torchvision: the video at another frame rate, windows of it moved by 1
snippets    TSN: a few frames in a row from each of equal parts of the video
dense       mmaction2, TSM: frames spread over one span of 64
segments    PySlowFast on Something-Something: one frame from each of equal parts

All of them raise ValueError for counts below 1, views that are not there and draws out of range.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from vqlab.nn.checks import whole_number


def random_window(
  total: int,
  frames: int,
  stride: int,
  u: float,
  *,
  fps: float | None = None,
  target_fps: float | None = None,
) -> np.ndarray:
  """PySlowFast's training clip: i64[frames].

  size = frames * stride * fps / target_fps, start = u * max(total - size, 0), not a whole number,
  and the frames are floor(linspace(start, start + size - 1, frames)), those past the end the last.
  Without rates, size = frames * stride.

  Positions have float32, as torch.linspace has them: with float64, 0.1% of 20,000 clips, and 0.5%
  of those of `test_window`, had another frame. As torch rounds with vector instructions, 1 and 3
  of them still had.
  """
  _check("random_window", total=total, frames=frames, stride=stride, u=u)
  size = _size(frames, stride, fps, target_fps)
  return _window(total, frames, size, u * max(total - size, 0))


def test_window(
  total: int,
  frames: int,
  stride: int,
  i: int,
  views: int,
  *,
  fps: float | None = None,
  target_fps: float | None = None,
  offsets: bool = False,
) -> np.ndarray:
  """Clip i of PySlowFast's evaluation, a `random_window` with another start: i64[frames].

  With delta = max(total - size, 0) the start is delta * i / views, so that no clip has the end of
  the video; with `offsets` (TEST.USE_OFFSET_SAMPLING) i * floor(delta / (views - 1)), and of one
  view floor(delta / 2).
  """
  _check("test_window", total=total, frames=frames, stride=stride, i=i, views=views)
  size = _size(frames, stride, fps, target_fps)
  delta = max(total - size, 0)
  if not offsets:
    start = delta * i / views
  elif views == 1:
    start = math.floor(delta / 2)
  else:
    start = i * math.floor(delta / (views - 1))
  return _window(total, frames, size, start)


def random_resampled(total: int, frames: int, u: float, *, fps: float, rate: float) -> np.ndarray:
  """A clip of torchvision's RandomClipSampler, frames_between_clips=1: i64[frames].

  The video at another rate has frames 0, step, 2 step, ... with step = fps / rate: all that are
  there where step is a whole number, else floor(total * rate / fps) of them, rounded down. Its
  windows of `frames`, moved by 1, are as likely each; torchvision draws several of a video without
  replacement.

  A video too short for one window, which torchvision leaves out, repeats its last frame.
  """
  _check("random_resampled", total=total, frames=frames, u=u)
  video = _resampled(total, fps, rate)
  return _repeat_last(video, math.floor(u * _windows(video, frames)), frames)


def test_resampled(
  total: int, frames: int, i: int, views: int, *, fps: float, rate: float
) -> np.ndarray:
  """Clip i of torchvision's UniformClipSampler, otherwise as `random_resampled`: i64[frames].

  It starts at floor(linspace(0, windows - 1, views))[i]. (torchvision counts windows through all
  videos, so that of a large data set its float32 may round to a neighbour.)
  """
  _check("test_resampled", total=total, frames=frames, i=i, views=views)
  video = _resampled(total, fps, rate)
  starts = _linspace(0, _windows(video, frames) - 1, views)
  return _repeat_last(video, int(starts[i]), frames)


def random_snippets(
  total: int, count: int, u: ArrayLike, *, frames: int = 1, stride: int = 1
) -> np.ndarray:
  """mmaction2's SampleFrames in training, TSN's segments: u [count] -> i64[count, frames].

  With room = total - frames * stride + 1 starts and part = room // count, snippet j starts at

      j * part + floor(u[j] * part)       if part > 0
      floor(u * room), sorted             else if total > count and room > 1
      round(j * max(room, 0) / count)     else, halves to even

  Frames past the end begin again at the start.
  """
  _check("random_snippets", total=total, count=count, frames=frames, stride=stride, u=u)
  u = _draws("random_snippets", u, count)
  room = total - frames * stride + 1
  part = room // count
  j = np.arange(count)
  if part > 0:
    starts = j * part + np.floor(u * part)
  elif total > count and room > 1:
    starts = np.sort(np.floor(u * room))
  else:
    starts = np.rint(j * (max(room, 0) / count))
  return (starts.astype(np.int64)[:, None] + stride * np.arange(frames)) % total


def test_snippets(
  total: int, count: int = 25, *, frames: int = 1, ends: bool = False
) -> np.ndarray:
  """Evenly spaced snippets of two-stream networks and TSN: i64[count, frames].

  Snippet j starts at j * step. The UCF101 tests of two-stream networks have, for stacks of flow,
  step = floor((total - frames + 1) / count). With `ends` the first and the last are at the ends,
  step = floor((total - frames) / (count - 1)): those tests for single frames, TSN's for both.

  A video too short repeats its last frame.
  """
  _check("test_snippets", total=total, count=count, frames=frames)
  if ends:
    step = (total - frames) // max(count - 1, 1)
  else:
    step = (total - frames + 1) // count
  starts = np.arange(count) * max(step, 0)
  return np.minimum(starts[:, None] + np.arange(frames), total - 1)


def random_dense(total: int, count: int, u: float, *, span: int = 64) -> np.ndarray:
  """mmaction2's DenseSampleFrames in training: i64[count].

  (start + j * floor(span / count)) mod total, start = floor(u * (total - span)) or 0: the last
  span is never drawn.
  """
  _check("random_dense", total=total, count=count, span=span, u=u)
  return _dense(total, count, math.floor(u * max(total - span, 0)), span)


def test_dense(total: int, count: int, i: int, views: int = 10, *, span: int = 64) -> np.ndarray:
  """Clip i of mmaction2's DenseSampleFrames in evaluation: i64[count].

  As `random_dense`, start = floor(linspace(0, max(total - span, 0), views))[i].
  """
  _check("test_dense", total=total, count=count, span=span, i=i, views=views)
  starts = np.linspace(0, max(total - span, 0), views).astype(np.int64)
  return _dense(total, count, starts[i], span)


def segments(total: int, count: int, u: ArrayLike | None = None) -> np.ndarray:
  """PySlowFast's frames of Something-Something: u [count] or None -> i64[count].

  Segment j runs from round(j * (total - 1) / count) to round((j + 1) * (total - 1) / count), both
  of it, halves to even. Its frame is drawn uniformly by u[j]; without u it is the middle, rounded
  down.
  """
  _check("segments", total=total, count=count, u=0.0 if u is None else u)
  edges = np.rint((total - 1) / count * np.arange(count + 1)).astype(np.int64)
  first, last = edges[:-1], edges[1:]
  if u is None:
    return (first + last) // 2
  u = _draws("segments", u, count)
  return first + np.floor(u * (last - first + 1)).astype(np.int64)


def _check(name: str, *, u: ArrayLike = 0.0, i: int = 0, views: int = 1, **counts: int) -> None:
  for field, count in {**counts, "views": views}.items():
    whole_number(f"{name}: {field}", count, least=1)
  if not 0 <= i < views:
    raise ValueError(f"{name}: i is {i}; it must be in 0..{views - 1}")
  if not np.all((np.asarray(u) >= 0) & (np.asarray(u) < 1)):
    raise ValueError(f"{name}: u is {u}; it must be in [0, 1)")


def _draws(name: str, u: ArrayLike, count: int) -> np.ndarray:
  u = np.asarray(u, np.float64)
  if u.shape != (count,):
    raise ValueError(f"{name}: u must be [{count}], a draw each; found {list(u.shape)}")
  return u


def _ratio(fps: float, rate: float) -> float:
  if fps <= 0 or rate <= 0:
    raise ValueError(f"frames a second must be more than 0; found {fps} and {rate}")
  return float(fps) / float(rate)


def _size(frames: int, stride: int, fps: float | None, target_fps: float | None) -> float:
  if fps is None and target_fps is None:
    return frames * stride
  if fps is None or target_fps is None:
    raise ValueError(f"fps and target_fps go together; found {fps} and {target_fps}")
  _ratio(fps, target_fps)
  return frames * stride * fps / target_fps


def _linspace(start: float, end: float, count: int) -> np.ndarray:
  """`torch.linspace` without vector instructions, bit for bit: f32[count] from both ends."""
  start, end = np.float32(start), np.float32(end)
  step = (end - start) / np.float32(max(count - 1, 1))
  i = np.arange(count, dtype=np.float32)
  up, down = start + step * i, end - step * i[::-1]
  return np.where(i < max(count // 2, 1), up, down)


def _window(total: int, frames: int, size: float, start: float) -> np.ndarray:
  return np.clip(_linspace(start, start + size - 1, frames), 0, total - 1).astype(np.int64)


def _resampled(total: int, fps: float, rate: float) -> np.ndarray:
  """The frames of a video at another rate, one at least; float32, as torchvision has it."""
  step = _ratio(fps, rate)
  if step.is_integer():
    return np.arange(0, total, int(step))
  n = max(math.floor(total * (float(rate) / float(fps))), 1)
  return np.floor(np.arange(n, dtype=np.float32) * np.float32(step)).astype(np.int64)


def _windows(video: np.ndarray, frames: int) -> int:
  return max(len(video) - frames + 1, 1)


def _repeat_last(video: np.ndarray, start: int, frames: int) -> np.ndarray:
  return video[np.minimum(start + np.arange(frames), len(video) - 1)]


def _dense(total: int, count: int, start: int, span: int) -> np.ndarray:
  return (start + span // count * np.arange(count)) % total
