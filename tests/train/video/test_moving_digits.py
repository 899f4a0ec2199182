"""Moving digits: the class is the direction, and nothing but the order of frames tells it."""

import numpy as np
import pytest

from train.video.moving_digits import CLASSES
from train.video.sources import MovingDigits


@pytest.fixture(scope="module")
def source():
  return MovingDigits(copies=2)


@pytest.fixture(scope="module")
def splits(source):
  return source.open()


def whole(videos, i):
  return videos.read(i, np.arange(videos.frames[i]))


def test_what_there_is(source, splits):
  train, held_out = splits["train"], splits["eval"]
  assert splits.keys() == {"train", "eval"} and (len(train), len(held_out)) == (2 * 1437, 720)
  assert train.class_names == CLASSES and len(set(CLASSES)) == 6
  assert whole(train, 5).shape == (16, 28, 28, 1) and whole(train, 5).dtype == np.uint8
  assert source.about(splits)["num_classes"] == 6
  assert source.about(splits)["frame_shape"] == [28, 28, 1]
  other = MovingDigits(length=3, copies=1)
  assert whole(other.open()["train"], 0).shape == (3, 28, 28, 1)
  assert len({source.prepare(), other.prepare(), MovingDigits().prepare()}) == 3


def test_the_same_each_time(source, splits):
  again = source.open()
  for name, videos in splits.items():
    assert again[name].labels.tolist() == videos.labels.tolist()
    for i in (0, len(videos) - 1):
      np.testing.assert_array_equal(whole(again[name], i), whole(videos, i))
  frames = whole(splits["train"], 3)
  positions = np.array([9, 0, 9, 15])
  np.testing.assert_array_equal(splits["train"].read(3, positions), frames[positions])


def test_directions_are_those_of_the_compass(splits):
  """A step is the shortest way to where the digit is next, within half a point of its name."""
  points = "N NNE NE ENE E ESE SE SSE S SSW SW WSW W WNW NW NNW"
  videos = splits["eval"]
  for i in range(60):
    first, second = videos.read(i, np.array([0, 1]))[..., 0].astype(float)
    product = np.fft.fft2(second) * np.conj(np.fft.fft2(first))
    found = np.fft.ifft2(product).real.argmax()
    down, right = ((x + 13) % 28 - 13 for x in divmod(found, 28))
    angle = np.degrees(np.arctan2(right, -down)) % 360
    wanted = 22.5 * points.split().index(CLASSES[videos.labels[i]])
    assert abs((angle - wanted + 180) % 360 - 180) <= 11.25


def test_unordered_frames_of_all_classes_are_the_same(splits):
  """Seven in a row are the same seven, from one beginning on, and return to it."""
  videos = splits["train"]
  digit, place = videos._digits[0], videos._places[0]
  seen = []
  for label in range(6):
    videos.labels[0] = label
    frames = whole(videos, 0)
    assert np.array_equal(frames[7:14], frames[:7])
    assert len({x.tobytes() for x in frames[:7]}) == 7
    seen.append(frames)
  for label, frames in enumerate(seen):
    assert {x.tobytes() for x in frames[:7]} == {x.tobytes() for x in seen[0][:7]}
    np.testing.assert_array_equal(frames[7:0:-1], seen[5 - label][:7])  # backwards: the opposite
  assert np.array_equal(np.roll(seen[0][0, ..., 0], -place, (0, 1))[:16, :16], digit)


def test_classes_are_balanced_and_digits_are_of_one_split(source):
  splits = source.open()
  for videos in splits.values():
    counts = np.bincount(videos.labels, minlength=6)
    assert counts.max() - counts.min() <= 1
  digits = [{digit.tobytes() for digit in videos._digits} for videos in splits.values()]
  assert not digits[0] & digits[1]
  assert [len(x) for x in digits] == [1437, 360]


def test_nothing_but_the_direction_depends_on_the_class():
  videos = MovingDigits(copies=16).open()["train"]
  light = videos._digits.mean(axis=(1, 2))
  for value in (*videos._places.T, light):
    means = np.array([value[videos.labels == c].mean() for c in range(6)])
    assert np.abs(means - value.mean()).max() < 4 * value.std() / np.sqrt(len(videos) / 6)
