"""The digits that need no file: faithful, smooth, split by class."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from train.images.builders.digits import upsample
from train.images.sources import Digits


@pytest.fixture(scope="module")
def original():
  """Levels 0..16 of all digits at 8x8, and their images at 32x32."""
  levels = load_digits().images
  return levels, upsample(levels)


def test_block_means_are_the_original_pixels(original):
  levels, images = original
  assert images.shape == (1797, 32, 32)
  assert images.dtype == np.uint8
  means = images.reshape(-1, 8, 4, 8, 4).mean((2, 4))
  assert np.abs(means - levels * 255 / 16).max() <= 0.5
  np.testing.assert_array_equal(np.round(means * 16 / 255), levels)


@pytest.mark.parametrize("axis", [1, 2])
def test_looks_smooth(original, axis):
  levels, images = original
  step_of_blocks = np.abs(np.diff(levels * 255 / 16, axis=axis)).mean()
  steps = np.abs(np.diff(images.astype(float), axis=axis)).mean((0, 3 - axis))
  assert steps[3::4].mean() < 0.5 * step_of_blocks  # across the edges of blocks
  assert steps[1::4].mean() > 0.1 * step_of_blocks  # in the middle of them


def test_splits_hold_each_image_once_and_each_class_alike(original, data_dir):
  splits = Digits(dir=str(data_dir)).open()
  assert splits.keys() == {"train", "eval"}
  train, test = splits.values()
  assert (len(train), len(test)) == (1437, 360)
  assert train.image_shape == (32, 32, 1)
  assert train.num_classes == 10
  assert train.class_names == tuple("0123456789")

  both = [split.read(np.arange(len(split))) for split in (train, test)]
  images = np.concatenate([read["image"][..., 0] for read in both])
  assert sorted(i.tobytes() for i in images) == sorted(i.tobytes() for i in original[1])
  shares = np.bincount(both[1]["label"]) / np.bincount(load_digits().target)
  np.testing.assert_allclose(shares, 0.2, atol=0.01)
