"""A judge of class-conditional samples: a logistic regression that has seen only real images."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from train.data import Split


def class_accuracy(
  train: Split, held_out: Split, samples: np.ndarray, labels: np.ndarray, *, size: int
) -> dict[str, float]:
  """How often the judge sees in a sample the class that was asked for.

  Fitted on at most 20,000 images of the real training split; images are shrunk to size x size by
  averaging blocks (the centre, where size does not divide them).

  Args:
    samples: u8[N, H, W, C].
    labels: i32[N], the classes asked for.

  Returns:
    judge_accuracy: the share of held-out real images that it gets right, which says how far it
      can be trusted; sample_accuracy: the share of samples in which it sees the class asked for.
  """
  images, classes = train.gather(np.arange(min(len(train), 20_000)))
  real, real_classes = held_out.gather(np.arange(len(held_out)))
  judge = LogisticRegression(max_iter=2000).fit(shrink(images, size), classes)
  return {
    "judge_accuracy": float(judge.score(shrink(real, size), real_classes)),
    "sample_accuracy": float(judge.score(shrink(samples, size), labels)),
  }


def shrink(images: np.ndarray, size: int) -> np.ndarray:
  """u8[N, H, W, C] -> [N, size * size * C] in [0, 1], each value the mean of a block."""
  images = np.asarray(images, np.float64) / 255
  n, height, width, channels = images.shape
  side = min(height, width) // size
  top, left = (height - side * size) // 2, (width - side * size) // 2
  cut = images[:, top : top + side * size, left : left + side * size]
  return cut.reshape(n, size, side, size, side, channels).mean(axis=(2, 4)).reshape(n, -1)
