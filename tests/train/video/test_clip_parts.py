"""Samplings and crops as parts of a config: within bounds, and as the functions they name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.video import crops as crops_of
from train.video.crops import COUNTS, Corners, Jitter, Resized
from train.video.sampling import Dense, Resampled, Segments, Snippets, Window
from vqlab.video import sampling

SAMPLINGS = [
  Window(frames=8, stride=5),
  Window(frames=8, stride=5, target_fps=30.0),
  Window(frames=8, stride=2, to_the_end=True),
  Resampled(frames=8, rate=15.0),
  Segments(frames=8),
  Snippets(frames=8),
  Dense(frames=8, span=64),
]


@pytest.mark.parametrize("kind", SAMPLINGS, ids=lambda kind: type(kind).__name__)
def test_positions_are_those_of_the_video(kind):
  rng = np.random.default_rng(0)
  for _ in range(200):
    total, count, fps = int(rng.integers(1, 400)), int(rng.integers(1, 6)), rng.uniform(5, 60)
    for found in (kind.train(total, fps, rng.random(8)), *kind.test(total, fps, count)):
      assert found.shape == (8,) and found.dtype == np.int64
      assert found.min() >= 0 and found.max() < total
    assert len(kind.test(total, fps, count)) == count


def test_a_rate_stretches_a_window():
  u = np.array([0.3] + [0.0] * 7)
  plain, timed = Window(frames=8, stride=5), Window(frames=8, stride=5, target_fps=30.0)
  np.testing.assert_array_equal(plain.train(300, 60.0, u), sampling.random_window(300, 8, 5, 0.3))
  np.testing.assert_array_equal(
    timed.train(300, 60.0, u), sampling.random_window(300, 8, 5, 0.3, fps=60.0, target_fps=30.0)
  )
  assert np.ptp(timed.train(300, 60.0, u)) == 79 and np.ptp(plain.train(300, 60.0, u)) == 39
  ends = Window(frames=8, stride=5, to_the_end=True).test(300, 30.0, 3)
  assert ends[-1, -1] == 299 and plain.test(300, 30.0, 3)[-1, -1] < 299


CROPS = [
  Jitter(size=20, sides=(24, 30), mean=(0.5,), std=(0.5,)),
  Resized(size=20, height=24, width=32, mean=(0.5,), std=(0.5,)),
  Corners(size=20, height=24, width=32, mean=(0.5,), std=(0.5,)),
]


@pytest.mark.parametrize("kind", CROPS, ids=lambda kind: type(kind).__name__)
def test_crops_lie_within_the_frames(kind):
  keys = jax.random.split(jax.random.key(0), 300)
  size = jnp.array([33, 47])
  boxes = jax.vmap(lambda key: kind.box(key, size))(keys)
  several = [jax.tree.map(lambda x: x.ravel(), kind.boxes(size, name)) for name in COUNTS]
  for found in (boxes, *several):
    assert (found.top >= 0).all() and (found.left >= 0).all()
    assert (found.top + found.height <= 33 + 1e-3).all()
    assert (found.left + found.width <= 47 + 1e-3).all()
  assert len({*np.asarray(boxes.top).tolist()}) > 3 and 100 < np.asarray(boxes.flip).sum() < 200
  assert [len(x.top) for x in several] == list(COUNTS.values())


def test_what_is_seen_is_scaled_and_its_channels_may_be_reversed():
  rng = np.random.default_rng(0)
  clips = rng.integers(0, 256, (2, 3, 20, 20, 3), dtype=np.uint8)
  sizes, keys = np.full((2, 2), 20, np.int32), jax.random.split(jax.random.key(0), 2)
  fields = {"size": 20, "sides": (20,), "flip": 0.0}
  mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
  plain = Jitter(**fields, mean=mean, std=std)
  found = plain.train(clips, sizes, keys)
  np.testing.assert_allclose(found, (clips / 255 - mean) / np.array(std), rtol=1e-4, atol=1e-4)
  turned = Jitter(**fields, mean=mean, std=std, bgr=True)
  expected = (clips[..., ::-1] / 255 - mean) / np.array(std)
  np.testing.assert_allclose(turned.train(clips, sizes, keys), expected, rtol=1e-4, atol=1e-4)
  boxes = jax.vmap(lambda size: plain.boxes(size, "centre"))(jnp.asarray(sizes))
  boxes = jax.tree.map(lambda x: x[:, 0], boxes)
  np.testing.assert_allclose(plain.test(clips, boxes), found, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(plain.seen(clips, boxes), clips, atol=1e-3)
  with pytest.raises(ValueError, match=r"crops.mean has 3 numbers for 1 channels"):
    plain.check(channels=1)
  assert crops_of.COUNTS.keys() == {"centre", "three", "five", "ten"}
