"""Digits that move: the class is the direction, which no frame tells, nor all of them unordered.

A digit of 16x16 pixels (scikit-learn's 8x8, each pixel twice as large) moves over a black frame of
28x28 without borders: what leaves on one side comes back on the other. A step is k times (4, 12)
pixels down and to the right, k = 1 ... 6 the class. Seven steps lead back to where the digit began,
and as 7 is a prime, by way of the same seven places whatever k is, in another order: who knows
seven frames or more in a row, but not their order, knows nothing of the class.

    k          1    2    3    4    5    6
    down       4    8   12  -12   -8   -4
    right     12   -4    8   -8    4  -12
    towards  ESE  SSW  SSE  NNW  NNE  WNW
"""

import numpy as np

from train.video.sources import MovingDigits
from train.video.videos import Facts, Videos

CLASSES = ("ESE", "SSW", "SSE", "NNW", "NNE", "WNW")
_SIDE, _STEP = 28, np.array([4, 12])


class Moving(Videos):
  """Videos that are drawn when they are read: frames u8[28, 28, 1]."""

  def __init__(
    self, digits: np.ndarray, labels: np.ndarray, places: np.ndarray, *, length: int, name: str
  ):
    """`digits` u8[N, 16, 16], `labels` int[N], `places` of the first frames int[N, 2]."""
    names = [f"digit {i}, {CLASSES[label]}" for i, label in enumerate(labels)]
    facts = [Facts(length, 30.0, _SIDE, _SIDE)] * len(digits)
    super().__init__(names, labels, CLASSES, facts, channels=1)
    self._digits, self._places, self.name = digits, places, name
    self.action_dim = len(CLASSES)  # where to, one of six

  def read(self, index: int, positions: np.ndarray) -> np.ndarray:
    frame = np.zeros((_SIDE, _SIDE, 1), np.uint8)
    frame[:16, :16, 0] = self._digits[index]
    step = (self.labels[index] + 1) * _STEP
    return np.stack([np.roll(frame, self._places[index] + t * step, (0, 1)) for t in positions])

  def actions(self, index: int, positions: np.ndarray) -> np.ndarray:
    where = np.float32(np.arange(self.action_dim) == self.labels[index])
    return where * (positions[:, None] > 0)


def open_splits(data: MovingDigits) -> dict[str, Moving]:
  """Train has `copies` videos of each of 1,437 digits, eval two of each of 360 others."""
  from sklearn.datasets import load_digits
  from sklearn.model_selection import train_test_split

  images = np.uint8(np.rint(load_digits().images * (255 / 16))).repeat(2, 1).repeat(2, 2)
  parts = train_test_split(images, test_size=0.2, random_state=0)
  splits = {}
  for seed, (name, digits, copies) in enumerate(
    zip(("train", "eval"), parts, (data.copies, 2), strict=True)
  ):
    digits, rng = np.repeat(digits, copies, axis=0), np.random.default_rng(seed)
    labels = rng.permutation(np.arange(len(digits)) % len(CLASSES))
    places = rng.integers(0, _SIDE, (len(digits), 2))
    named = {"length": data.length, "name": f"moving digits, {name}"}
    splits[name] = Moving(digits, labels, places, **named)
  return splits
