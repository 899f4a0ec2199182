"""Chunks of sounds: every sample once when held out, pure functions of seed and position else."""

import numpy as np
import pytest

from train.audio.sounds import Chunks, Sounds
from train.data import batch, eval_batches
from train.data.examples import draws_at

LENGTHS = (10, 7, 1, 25, 20)
SIZE = 10


@pytest.fixture(scope="module")
def sounds():
  """Sample t of utterance i is 100 * i + t + 1."""
  return Sounds(
    [np.arange(100 * i + 1, 100 * i + 1 + n, dtype=np.int16) for i, n in enumerate(LENGTHS)],
    name="numbers",
    rate=100,
    files=[f"{i}.wav" for i in range(5)],
    speaker=np.array([0, 1, 0, 1, 0]),
    label=np.array([4, 3, 2, 1, 0]),
    speakers=("a", "b"),
    class_names=tuple("vwxyz"),
  )


def test_what_sounds_know(sounds):
  assert len(sounds) == 5 and sounds.seconds == 0.63
  assert sounds.lengths.dtype == np.int64 and tuple(sounds.lengths) == LENGTHS
  assert sounds.speaker.dtype == sounds.label.dtype == np.int32
  assert sounds.read(2).tolist() == [201]
  nameless = Sounds([np.ones(3, np.int16)], name="one", rate=1, files=["a"])
  assert nameless.speakers == ("",) and nameless.class_names == ()
  assert nameless.speaker.tolist() == nameless.label.tolist() == [0]


def test_places_cover_every_sample_once(sounds):
  chunks = Chunks(sounds, SIZE)
  assert len(chunks) == 1 + 1 + 1 + 3 + 2
  found = chunks.read(np.arange(len(chunks)), None)
  assert found["sound"].dtype == np.int16 and found["sound"].shape == (8, SIZE)
  assert all(found[name].dtype == np.int32 for name in ("length", "speaker", "label"))
  assert found["length"].tolist() == [10, 7, 1, 10, 10, 5, 10, 10]
  assert found["speaker"].tolist() == [0, 1, 0, 1, 1, 1, 0, 0]
  assert found["label"].tolist() == [4, 3, 2, 1, 1, 1, 0, 0]
  real = np.arange(SIZE) < found["length"][:, None]
  every = np.concatenate([sounds.read(i) for i in range(5)])
  np.testing.assert_array_equal(found["sound"][real], every)
  assert not found["sound"][~real].any()


def test_whole_is_each_from_its_start(sounds):
  chunks = Chunks(sounds, SIZE, whole=True)
  assert len(chunks) == 5
  for draws in (None, draws_at(0, 0, np.arange(5))):
    found = chunks.read(np.arange(5), draws)
    assert found["length"].tolist() == [10, 7, 1, 10, 10]
    assert found["sound"][:, 0].tolist() == [1, 101, 201, 301, 401]


def test_starts_are_drawn_uniformly_from_those_where_most_of_the_chunk_is_real(sounds):
  chunks, count, least = Chunks(sounds, SIZE), 6000, SIZE - SIZE // 4
  for place, utterance in ((3, 3), (5, 3), (7, 4), (1, 1), (2, 2)):
    found = chunks.read(np.full(count, place), draws_at(0, 0, np.arange(count)))
    length, first = LENGTHS[utterance], sounds.read(utterance)[0]
    starts = found["sound"][:, 0] - first
    np.testing.assert_array_equal(found["length"], np.minimum(length - starts, SIZE))
    drawn = np.bincount(starts)
    assert len(drawn) == max(length - least, 0) + 1
    expected = count / len(drawn)
    assert np.abs(drawn - expected).max() < 5 * np.sqrt(expected)
    real = np.arange(SIZE) < found["length"][:, None]
    in_a_row = found["sound"][:, :1] + np.arange(SIZE)
    np.testing.assert_array_equal(found["sound"], np.where(real, in_a_row, 0))


def test_what_is_heard_first_is_another_place_softer():
  flat, square = np.full(2 * SIZE, 16000, np.int16), np.int16([16000, -16000] * SIZE)
  sounds = Sounds([flat, square], name="two", rate=100, files=["flat.wav", "square.wav"])
  rows, draws = np.zeros(4000, int), draws_at(0, 0, np.arange(4000))
  found = Chunks(sounds, SIZE, strange=0.25).read(rows, draws)
  np.testing.assert_array_equal(found["sound"], Chunks(sounds, SIZE).read(rows, draws)["sound"])
  first = np.bincount(found["first"]) / 4000
  np.testing.assert_allclose(first, [0.75 + 0.05, 0.05, 0.05, 0.05, 0.05], atol=0.02)
  other = np.float64(found["other"][:, : SIZE // 2])  # as much as can be heard
  np.testing.assert_array_equal(np.abs(other), np.abs(other[:, :1]).repeat(SIZE // 2, 1))
  assert np.mean(other[:, 0] != other[:, 1]) == pytest.approx(0.5, abs=0.04)  # the square ones
  decibels = np.histogram(20 * np.log10(np.abs(other[:, 0]) / 16000), (-40.1, -30, -20, -10, 0.1))
  np.testing.assert_allclose(decibels[0] / 4000, 1 / 4, atol=0.03)
  held = Chunks(sounds, SIZE, strange=0.25).read(np.arange(4), None)
  assert not held["other"].any() and not held["first"].any()


def test_batches_are_functions_of_seed_and_position(sounds):
  chunks = Chunks(sounds, SIZE, strange=0.5)
  large = batch(chunks, seed=3, k=1, batch_size=12)
  parts = [batch(chunks, seed=3, k=k, batch_size=4) for k in (3, 4, 5)]
  halves = [batch(chunks, seed=3, k=1, batch_size=12, process=(p, 2)) for p in (0, 1)]
  for name in ("sound", "length", "speaker", "label", "other", "first"):
    for smaller in (parts, halves):
      np.testing.assert_array_equal(large[name], np.concatenate([b[name] for b in smaller]))
  other = batch(chunks, seed=4, k=1, batch_size=12)
  assert not np.array_equal(large["sound"], other["sound"])


def test_evaluation_counts_each_place_once(sounds):
  batches = list(eval_batches(Chunks(sounds, SIZE), 3))
  assert sum(b["mask"].sum() for b in batches) == 8
  assert sum((b["length"] * b["mask"]).sum() for b in batches) == sum(LENGTHS)
