"""A judge of class-conditional samples: a logistic regression that has seen only real images."""

import numpy as np

from train.data import Examples

_TRAINING, _HELD_OUT = 20_000, 10_000  # at most so many images
_CHUNK = 500


class Judge:
  """Fitted on real training images, shrunk to size x size by averaging blocks.

  `accuracy` is the share of held-out real images that it gets right: how far it can be trusted.
  """

  def __init__(self, train: Examples, held_out: Examples, *, size: int):
    from sklearn.linear_model import LogisticRegression  # slow, and few runs have a judge

    self._size = size
    self._model = LogisticRegression(max_iter=2000).fit(*_shrunk(train, _TRAINING, size))
    self.accuracy = float(self._model.score(*_shrunk(held_out, _HELD_OUT, size)))

  def sample_accuracy(self, samples: np.ndarray, labels: np.ndarray) -> float:
    """How often it sees in samples u8[N, H, W, C] the classes asked for, i32[N]."""
    return float(self._model.score(shrink(samples, self._size), labels))


def _shrunk(split: Examples, most: int, size: int) -> tuple[np.ndarray, np.ndarray]:
  """The first images of a split, shrunk, and their classes."""
  rows = np.arange(min(len(split), most))
  chunks = np.split(rows, range(_CHUNK, len(rows), _CHUNK))
  read = (split.read(chunk, None) for chunk in chunks)
  parts = [(shrink(batch["image"], size), batch["label"]) for batch in read]
  images, labels = zip(*parts, strict=True)
  return np.concatenate(images), np.concatenate(labels)


def shrink(images: np.ndarray, size: int) -> np.ndarray:
  """u8[N, H, W, C] -> [N, size * size * C] in [0, 1], each value the mean of a block.

  Of images whose sides `size` does not divide the centre counts.
  """
  images = np.asarray(images, np.float64) / 255
  n, height, width, channels = images.shape
  side = min(height, width) // size
  top, left = (height - side * size) // 2, (width - side * size) // 2
  cut = images[:, top : top + side * size, left : left + side * size]
  return cut.reshape(n, size, side, size, side, channels).mean(axis=(2, 4)).reshape(n, -1)
