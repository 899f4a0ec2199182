"""The digits that need no file: faithful, smooth, split by class."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from train.data import Data, open_split
from train.data.builders.digits.digits_dataset_builder import upsample


def test_block_means_are_the_original_pixels():
  levels = load_digits().images
  images = upsample(levels)
  assert images.shape == (1797, 32, 32)
  assert images.dtype == np.uint8
  means = images.reshape(-1, 8, 4, 8, 4).mean((2, 4))
  assert np.abs(means - levels * 255 / 16).max() <= 0.5
  np.testing.assert_array_equal(np.round(means * 16 / 255), levels)


@pytest.mark.parametrize("axis", [1, 2])
def test_looks_smooth(axis):
  levels = load_digits().images
  step_of_blocks = np.abs(np.diff(levels * 255 / 16, axis=axis)).mean()
  steps = np.abs(np.diff(upsample(levels).astype(float), axis=axis)).mean((0, 3 - axis))
  assert steps[3::4].mean() < 0.5 * step_of_blocks  # across the edges of blocks
  assert steps[1::4].mean() > 0.1 * step_of_blocks  # in the middle of them


def test_splits_hold_each_image_once_and_each_class_alike(tmp_path):
  train = open_split(Data(dir=str(tmp_path)), "train")
  test = open_split(Data(dir=str(tmp_path)), "eval")
  assert (len(train), len(test)) == (1437, 360)
  assert train.image_shape == (32, 32, 1)
  assert train.num_classes == 10
  assert train.class_names == tuple("0123456789")

  both = [split.gather(range(len(split))) for split in (train, test)]
  original = upsample(load_digits().images)
  images = np.concatenate([images[..., 0] for images, _ in both])
  assert sorted(i.tobytes() for i in images) == sorted(i.tobytes() for i in original)
  shares = np.bincount(both[1][1]) / np.bincount(load_digits().target)
  np.testing.assert_allclose(shares, 0.2, atol=0.01)
