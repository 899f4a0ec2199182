"""Frames of clips, beside the projects' rules written one number at a time."""

import math

import numpy as np
import pytest

from vqlab.video import sampling

RATES = (10.0, 12.0, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0)


def cases(seed, n=1000):
  """Random numbers of frames, many of them fewer than a clip has."""
  rng = np.random.default_rng(seed)
  for _ in range(n):
    total = int(rng.integers(1, rng.choice([4, 40, 400, 4000])))
    yield rng, total, int(rng.choice([1, 2, 3, 4, 8, 13, 16, 32, 64])), int(rng.integers(1, 9))


def found_in(video, indices, shape):
  assert indices.dtype == np.int64 and indices.shape == shape
  assert indices.min() >= 0 and indices.max() < video


def position(start, end, count, k):
  """One number of `torch.linspace`: float32, from the nearer end."""
  start, end = np.float32(start), np.float32(end)
  if count == 1:
    return start
  step = np.float32(np.float32(end - start) / np.float32(count - 1))
  if k < count // 2:
    return np.float32(start + np.float32(step * np.float32(k)))
  return np.float32(end - np.float32(step * np.float32(count - 1 - k)))


def spread(total, frames, size, start):
  frame = lambda k: math.floor(position(start, start + size - 1, frames, k))
  return [min(max(frame(k), 0), total - 1) for k in range(frames)]


def rates(rng):
  return (None, None) if rng.random() < 0.3 else (float(rng.choice(RATES)), 30.0)


def size_of(frames, stride, fps, target):
  return frames * stride * fps / target if fps else frames * stride


def test_windows_of_training_are_pyslowfasts():
  for rng, total, frames, stride in cases(0):
    (fps, target), u = rates(rng), rng.random()
    found = sampling.random_window(total, frames, stride, u, fps=fps, target_fps=target)
    found_in(total, found, (frames,))
    size = size_of(frames, stride, fps, target)
    start = u * (total - size) if total > size else 0.0
    assert found.tolist() == spread(total, frames, size, start)


def test_windows_of_evaluation_are_pyslowfasts():
  for rng, total, frames, stride in cases(1):
    (fps, target), views = rates(rng), int(rng.integers(1, 12))
    i, offsets = int(rng.integers(views)), bool(rng.integers(2))
    found = sampling.test_window(
      total, frames, stride, i, views, fps=fps, target_fps=target, offsets=offsets
    )
    found_in(total, found, (frames,))
    size = size_of(frames, stride, fps, target)
    delta = total - size if total > size else 0
    if offsets and views == 1:
      start = math.floor(delta / 2)
    elif offsets:
      start = i * math.floor(delta / (views - 1))
    else:
      start = delta * i / views
    assert found.tolist() == spread(total, frames, size, start)


def test_ten_clips_of_a_video_by_hand():
  # 300 frames, 8 x 8: delta 236; starts 0, 23.6, ... or 0, 26, ...; 63 / 7 = 9 frames apart
  clip = lambda i, offsets: sampling.test_window(300, 8, 8, i, 10, offsets=offsets).tolist()
  assert clip(0, False) == [0, 9, 18, 27, 36, 45, 54, 63]
  assert clip(1, False) == [23, 32, 41, 50, 59, 68, 77, 86]
  assert clip(9, False) == [212, 221, 230, 239, 248, 257, 266, 275]
  assert clip(9, True) == [234, 243, 252, 261, 270, 279, 288, 297]
  assert sampling.test_window(300, 8, 8, 0, 1, offsets=True)[0] == 118


def test_positions_are_torchs_but_for_rounding_by_vector_instructions():
  torch = pytest.importorskip("torch")
  other = 0
  for rng, total, frames, stride in cases(2, 3000):
    size, u = size_of(frames, stride, float(rng.choice(RATES)), 30.0), rng.random()
    start = rng.choice([u, int(10 * u) / 10]) * max(total - size, 0)
    exact = np.linspace(start, start + size - 1, frames)
    expected = torch.clamp(torch.linspace(start, start + size - 1, frames), 0, total - 1)
    found = sampling._window(total, frames, size, start)
    differ = found != expected.long().numpy()
    other += differ.any()
    assert np.all(np.abs(exact - np.rint(exact))[differ] < 1e-3)
  assert other <= 3


def windows_of(total, frames, fps, rate):
  """Every window of a video at another rate, by torchvision's rules."""
  step = fps / rate
  if step == int(step):
    video = list(range(total))[:: int(step)]
  else:
    count = math.floor(total * (rate / fps))
    video = [math.floor(np.float32(k) * np.float32(step)) for k in range(count)]
  return video, [video[s : s + frames] for s in range(len(video) - frames + 1)]


def test_resampled_clips_are_torchvisions():
  short = 0
  for rng, total, frames, _ in cases(3):
    fps, rate = (float(rng.choice(RATES)) for _ in range(2))
    u, views = rng.random(), int(rng.integers(1, 12))
    i = int(rng.integers(views))
    drawn = sampling.random_resampled(total, frames, u, fps=fps, rate=rate)
    ith = sampling.test_resampled(total, frames, i, views, fps=fps, rate=rate)
    found_in(total, drawn, (frames,))
    found_in(total, ith, (frames,))
    video, windows = windows_of(total, frames, fps, rate)
    if windows:
      assert drawn.tolist() == windows[int(u * len(windows))]
      assert ith.tolist() == windows[math.floor(position(0, len(windows) - 1, views, i))]
    else:
      short += 1
      video = video or [0]
      assert drawn.tolist() == ith.tolist() == video + video[-1:] * (frames - len(video))
  assert short > 100


def test_the_starts_of_resampled_clips_are_torchs():
  torch = pytest.importorskip("torch")
  for windows in (1, 2, 7, 60, 135, 285):
    for views in (1, 2, 3, 5, 10):
      expected = torch.linspace(0, windows - 1, steps=views).floor().long().tolist()
      for i, start in enumerate(expected):
        clip = sampling.test_resampled(windows + 15, 16, i, views, fps=15, rate=15)
        assert clip.tolist() == list(range(start, start + 16))


def test_snippets_of_training_are_mmactions():
  branches = set()
  for rng, total, count, stride in cases(4):
    frames = int(rng.integers(1, 6))
    u = rng.random(count)
    found = sampling.random_snippets(total, count, u, frames=frames, stride=stride)
    found_in(total, found, (count, frames))
    length = frames * stride
    average = (total - length + 1) // count
    if average > 0:
      branch, starts = 0, [j * average + int(u[j] * average) for j in range(count)]
    elif total > max(count, length):
      branch, starts = 1, sorted(int(x * (total - length + 1)) for x in u)
    elif average == 0:
      ratio = (total - length + 1.0) / count
      branch, starts = 2, [round(j * ratio) for j in range(count)]
    else:
      branch, starts = 3, [0] * count
    branches.add(branch)
    expected = [[(s + k * stride) % total for k in range(frames)] for s in starts]
    assert found.tolist() == expected
  assert branches == {0, 1, 2, 3}


def test_snippets_of_evaluation_are_evenly_spaced():
  for rng, total, count, _ in cases(5):
    frames, ends = int(rng.integers(1, 11)), bool(rng.integers(2))
    found = sampling.test_snippets(total, count, frames=frames, ends=ends)
    found_in(total, found, (count, frames))
    if ends:
      step = math.floor((total - frames) / (count - 1)) if count > 1 else 0
    else:
      step = math.floor((total - frames + 1) / count)
    starts = [j * step if step > 0 else 0 for j in range(count)]
    expected = [[min(s + k, total - 1) for k in range(frames)] for s in starts]
    assert found.tolist() == expected
  assert sampling.test_snippets(186)[:, 0].tolist() == list(range(0, 175, 7))
  assert sampling.test_snippets(193, ends=True)[:, 0].tolist() == list(range(0, 193, 8))


def test_dense_frames_are_mmactions():
  for rng, total, count, _ in cases(6):
    u, views = rng.random(), int(rng.integers(1, 12))
    i = int(rng.integers(views))
    positions = max(1, 1 + total - 64)
    start = 0 if positions == 1 else int(u * (positions - 1))
    found = sampling.random_dense(total, count, u)
    found_in(total, found, (count,))
    assert found.tolist() == [(start + j * (64 // count)) % total for j in range(count)]
    start = int(np.linspace(0, positions - 1, views)[i])
    found = sampling.test_dense(total, count, i, views)
    found_in(total, found, (count,))
    assert found.tolist() == [(start + j * (64 // count)) % total for j in range(count)]


def test_segments_are_pyslowfasts():
  for rng, total, count, _ in cases(7):
    u = rng.random(count)
    found, middle = sampling.segments(total, count, u), sampling.segments(total, count)
    found_in(total, found, (count,))
    found_in(total, middle, (count,))
    size = float(total - 1) / count
    for j in range(count):
      start, end = round(size * j), round(size * (j + 1))
      assert found[j] == start + int(u[j] * (end - start + 1))
      assert middle[j] == (start + end) // 2


def test_both_ends_of_a_segment_are_drawn():
  almost = np.nextafter(1.0, 0.0)
  assert sampling.segments(9, 2, [0.0, 0.0]).tolist() == [0, 4]
  assert sampling.segments(9, 2, [almost, almost]).tolist() == [4, 8]


@pytest.mark.parametrize(
  "call, line",
  [
    (lambda: sampling.random_window(0, 8, 8, 0.5), "random_window: total is 0; .* at least 1"),
    (lambda: sampling.random_window(9, 8, 8, 1.0), r"random_window: u is 1.0; .* in \[0, 1\)"),
    (lambda: sampling.test_window(9, 8, 8, 3, 3), "test_window: i is 3; it must be in 0..2"),
    (lambda: sampling.random_window(9, 8, 8, 0.5, fps=30), "go together; found 30 and None"),
    (lambda: sampling.random_resampled(9, 8, 0.5, fps=0, rate=15), "more than 0; found 0 and 15"),
    (lambda: sampling.random_snippets(9, 3, [0.1, 0.2]), r"must be \[3\], .*; found \[2\]"),
    (lambda: sampling.segments(9, 0), "segments: count is 0"),
    (lambda: sampling.test_snippets(9, frames=0), "test_snippets: frames is 0"),
    (lambda: sampling.test_dense(9, 8, 0, views=0), "test_dense: views is 0"),
  ],
)
def test_what_can_not_be_is_refused(call, line):
  with pytest.raises(ValueError, match=line):
    call()
