"""The log spectral distance: against NumPy, its units, what counts."""

import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.metrics import log_spectral_distance


@pytest.fixture(scope="module")
def sounds():
  return jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 800)) / 4, jnp.float32)


def test_of_itself_and_of_a_gain(sounds):
  x, _ = sounds
  np.testing.assert_array_equal(log_spectral_distance(x, x), [0, 0])
  np.testing.assert_allclose(log_spectral_distance(x, 2 * x), 20 * np.log10(2), rtol=1e-3)


def test_against_numpy_frame_by_frame(sounds):
  x, y = sounds
  levels = []
  for sound in np.asarray(sounds[:, 0], np.float64):
    padded, hann = np.pad(sound, 32), np.hanning(65)[:64]
    frames = [np.abs(np.fft.rfft(padded[i : i + 64] * hann)) / 16 for i in range(0, 800, 16)]
    levels.append(20 * np.log10(np.maximum(frames, 1e-2)))
  expected = np.sqrt(np.square(levels[0] - levels[1]).mean(1)).mean()
  found = log_spectral_distance(x, y, window=64, hop=16, floor_db=-40)
  np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_it_is_symmetric_and_knows_no_sign(sounds):
  x, y = sounds
  far = log_spectral_distance(x, y)
  assert np.all(far > 3)
  np.testing.assert_allclose(log_spectral_distance(y, -x), far, rtol=1e-6)


def test_what_follows_an_end_counts_for_nothing(sounds):
  x, y = sounds
  lengths = jnp.array([300, 800], jnp.int32)
  whole = log_spectral_distance(x, y, lengths=lengths)
  spoilt = log_spectral_distance(x, y.at[0, 300:].set(jnp.nan), lengths=lengths)
  np.testing.assert_array_equal(spoilt, whole)
  cut = log_spectral_distance(x[:1, :300], y[:1, :300])
  np.testing.assert_allclose(whole[0], cut[0], rtol=1e-5)
  np.testing.assert_allclose(whole[1], log_spectral_distance(x, y)[1], rtol=1e-6)


def test_below_the_floor_all_is_silence(sounds):
  x, y = sounds
  np.testing.assert_array_equal(log_spectral_distance(1e-6 * x, 1e-6 * y), [0, 0])


def test_zero_decibels_are_a_sine_of_amplitude_one():
  """Of whose bins only its own is above -3 dB; of ten frames the first has half of it."""
  sine = jnp.sin(2 * jnp.pi * 20 / 256 * jnp.arange(2560.0))[None]
  found = log_spectral_distance(sine, 0 * sine, hop=256, floor_db=-3)
  np.testing.assert_allclose(found, 0.9 * np.sqrt(3**2 / 129), rtol=1e-4)


def test_bad_input_is_named(sounds):
  with pytest.raises(ValueError, match="shapes must agree"):
    log_spectral_distance(sounds[0], sounds[1, :1])
