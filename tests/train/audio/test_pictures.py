"""Pictures of sounds: where things are in them, read from their pixels."""

import numpy as np

from train.audio import pictures

RATE = 8000
LOUD = np.array([252, 253, 191])  # where the colours end


def tone(hertz, *, seconds=0.25, level=8000):
  t = np.arange(round(seconds * RATE)) / RATE
  return np.int16(level * np.sin(2 * np.pi * hertz * t))


def sheet(*sets):
  names = [f"${i}$_a $ b" for i in range(len(sets[0]))]  # as mathematics: an error
  titles = [f"set {i}" for i in range(len(sets))]
  return pictures.spectrogram_sheet(sets, rate=RATE, titles=titles, names=names)


def cell(picture, row, column):
  """Pixels of a spectrogram, without its border."""
  p, pixels = pictures, lambda inches: round(110 * inches)
  top = p._TOP + row * (p._NAME + p._WAVE + p._SPECTRUM + p._GAP) + p._NAME + p._WAVE
  left = p._LEFT + column * (p._WIDTH + p._GAP)
  rows = slice(pixels(top) + 2, pixels(top + p._SPECTRUM) - 2)
  return picture[rows, pixels(left) + 2 : pixels(left + p._WIDTH) - 2].astype(int)


def loudest(pixels):
  """(height from below, 0..1; how far its colour is from the loudest)."""
  far = np.abs(pixels - LOUD).sum(-1)
  middle = far[:, far.shape[1] // 4 : -far.shape[1] // 4].mean(1)
  return 1 - (middle.argmin() + 0.5) / len(middle), middle.min()


def test_rows_and_columns_are_where_they_should_be():
  hertz = [[500, 1000, 1500], [2500, 3000, 3500]]
  picture = sheet(*[[tone(f) for f in column] for column in hertz])
  assert picture.dtype == np.uint8 and picture.shape[2] == 3
  for column in range(2):
    for row in range(3):
      height, far = loudest(cell(picture, row, column))
      assert abs(height - hertz[column][row] / 4000) < 0.03 and far < 90


def test_a_row_has_one_scale_of_loudness_and_all_have_one_of_time():
  loud, soft, short = tone(1000), tone(1000, level=80), tone(1000, seconds=0.125)
  picture = sheet([loud, soft], [soft, short])
  assert loudest(cell(picture, 0, 0))[1] < 90 < 200 < loudest(cell(picture, 0, 1))[1]
  blank = cell(picture, 1, 1)
  half = blank.shape[1] // 2
  assert (blank[:, half + 3 :] == 0xF4).all() and (blank[:, : half - 3] != 0xF4).any(-1).all()


def test_silence_is_dark():
  picture = sheet([np.zeros(700, np.int16)], [np.zeros(500, np.int16)])
  assert cell(picture, 0, 0).sum(-1).max() < 30


def test_codes_are_sorted_by_their_labels():
  rng = np.random.default_rng(0)
  counts = np.concatenate([rng.integers(1, 50, (30, 4)), np.zeros((5, 4), int)])
  drawn = lambda counts: pictures.label_map_picture(
    counts, ["a", "$b", "c$", "d"], title="codes $ and $"
  )
  whole = drawn(counts)
  np.testing.assert_array_equal(drawn(rng.permutation(counts)), whole)
  np.testing.assert_array_equal(drawn(3 * counts), whole)  # shares, not counts
  assert (drawn(counts[:, ::-1]) != whole).any()
