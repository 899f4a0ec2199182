"""Images as people see them, and as a judge does."""

import numpy as np

from train.codes import pixels
from train.data import Examples
from train.images import judge, sheets
from train.images.sources import Digits


def test_sheet_places_every_image():
  images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 8, 8, 1), np.uint8)
  made = sheets.sheet(images, 3, scale=1)
  assert made.shape == (2 * 10 + 2, 3 * 10 + 2, 3)
  assert [made[2 + 10 * (i // 3), 2 + 10 * (i % 3), 0] for i in range(5)] == list(range(5))
  assert (made[12:, 22:] == 255).all()


def test_uint8_rounds_and_clips():
  values = np.array([-0.7, -0.5, 0.0, 0.25, 0.5, 0.9])
  np.testing.assert_array_equal(pixels.to_bytes(values), [0, 0, 128, 191, 255, 255])


def test_the_judge_sees_what_is_there():
  class Split(Examples):
    def __init__(self, seed):
      rng = np.random.default_rng(seed)
      self.labels = np.arange(40) % 2
      level = 60 + 120 * self.labels[:, None, None, None]
      self.images = np.uint8(level + rng.integers(0, 20, (40, 9, 9, 1)))

    def __len__(self):
      return 40

    def read(self, indices, draws):
      return {"image": self.images[indices], "label": self.labels[indices]}

  train, held_out = Split(0), Split(1)
  seen = judge.Judge(train, held_out, size=4)
  assert seen.accuracy == seen.sample_accuracy(held_out.images, held_out.labels) == 1
  assert seen.sample_accuracy(held_out.images, 1 - held_out.labels) == 0
  blocks = judge.shrink(np.full((1, 9, 9, 1), 255, np.uint8), 4)
  np.testing.assert_allclose(blocks, np.ones((1, 16)))


def test_digits_shrink_back_to_what_scikit_learn_gives(data_dir):
  from sklearn.datasets import load_digits
  from sklearn.model_selection import train_test_split

  x, y = load_digits(return_X_y=True)
  x, held_out, y, held_out_y = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
  for which, images, labels in (("train", x, y), ("eval", held_out, held_out_y)):
    split = Digits(dir=str(data_dir)).open()[which]
    ours, our_labels = split.read(np.arange(len(split))).values()
    ours = judge.shrink(ours, 8) * 16
    # The order within a split is its own: match by sorting rows.
    assert len(ours) == len(images)
    order = np.lexsort(np.rint(ours).T)
    theirs = np.lexsort(images.T)
    np.testing.assert_allclose(ours[order], images[theirs], atol=0.05)
    assert sorted(our_labels) == sorted(labels)
