"""scikit-learn's handwritten digits: 1,797 images that need no network and no file.

An 8x8 image x of levels 0..16 becomes a 32x32 image y of bytes that looks smooth and loses
nothing: the mean of every 4x4 block of y is 255 x / 16, up to rounding.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from train.images.sources import Digits

_SIDE, _SCALE = 8, 4


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """1,437 digits to train on, 360 (a fifth, stratified) to test on."""

  name = "digits"
  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    features = tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=(32, 32, 1), encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=10),
      }
    )
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    # Slow to import, and needed only here.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images, labels = upsample(digits.images), digits.target
    train, test = train_test_split(
      np.arange(len(labels)), stratify=labels, test_size=0.2, random_state=0
    )
    return {
      "train": self._generate_examples(train, images, labels),
      "test": self._generate_examples(test, images, labels),
    }

  def _generate_examples(
    self, rows: np.ndarray, images: np.ndarray, labels: np.ndarray
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    for i in rows:
      yield int(i), {"image": Image.fromarray(images[i]), "label": int(labels[i])}


def config(data: Digits) -> None:
  """There is nothing to configure."""


def upsample(levels: np.ndarray, *, steps: int = 60) -> np.ndarray:
  """uint8[N, 32, 32] of [N, 8, 8] levels 0..16; the mean of a 4x4 block is 255/16 of the level.

  Starts from bicubic interpolation, then in turn adds the interpolated error of the block means
  and clips to 0..255. A block-constant image meets both, so this converges.
  """
  target = np.asarray(levels, np.float64) * (255 / 16)
  images = _bicubic(target)
  for _ in range(steps):
    images = np.clip(images + _bicubic(target - _block_means(images)), 0, 255)
  # What error is left goes into a block's pixels in proportion to the room they have for it.
  error = target - _block_means(images)
  room = np.where(_blocks(error) > 0, 255 - images, images)
  images += room * _blocks(error / np.maximum(_block_means(room), 1e-9))
  return np.round(np.clip(images, 0, 255)).astype(np.uint8)


def _bicubic(images: np.ndarray) -> np.ndarray:
  """Pillow's bicubic upsampling, which is linear and the same along rows and columns."""
  unit = Image.fromarray(np.eye(_SIDE, dtype=np.float32))
  weights = np.asarray(unit.resize((_SIDE, _SIDE * _SCALE), Image.Resampling.BICUBIC), np.float64)
  return weights @ images @ weights.T


def _block_means(images: np.ndarray) -> np.ndarray:
  return images.reshape(-1, _SIDE, _SCALE, _SIDE, _SCALE).mean((2, 4))


def _blocks(images: np.ndarray) -> np.ndarray:
  return images.repeat(_SCALE, 1).repeat(_SCALE, 2)
