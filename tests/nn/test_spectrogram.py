"""Spectrograms: against SciPy and NumPy, what scale they have, and over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.features import log_mel, mel_filters, spectrogram

RATE = 8000


@pytest.fixture(scope="module")
def noise():
  return np.random.default_rng(0).normal(size=(2, 1000)) / 4


@pytest.mark.parametrize(("window", "hop"), [(256, 64), (64, 48), (16, 16), (2048, 100)])
def test_twice_scipys_stft(x64, noise, window, hop):
  signal = pytest.importorskip("scipy.signal")
  _, _, theirs = signal.stft(
    np.pad(noise, ((0, 0), (0, window))), nperseg=window, noverlap=window - hop
  )
  ours = spectrogram(jnp.asarray(noise), window=window, hop=hop)
  assert ours.shape == (2, -(-1000 // hop), window // 2 + 1) and ours.dtype == jnp.float64
  theirs = np.swapaxes(np.abs(theirs), 1, 2)[:, : ours.shape[1]]
  np.testing.assert_allclose(ours, 2 * theirs, rtol=1e-10, atol=1e-14)


def test_a_full_sine_at_a_bin_reads_one():
  sine = np.sin(2 * np.pi * 20 / 256 * np.arange(1024) + 0.3)
  found = spectrogram(jnp.asarray(sine[None], jnp.float32))[0, 2:-2]
  np.testing.assert_allclose(found[:, 20], 1, rtol=1e-5)
  np.testing.assert_allclose(found[:, [19, 21]], 0.5, rtol=1e-5)
  assert np.delete(found, [19, 20, 21], axis=1).max() < 1e-5


def test_frames_are_centred_on_multiples_of_hop():
  click = jnp.zeros((1, 330)).at[0, 128].set(1.0)
  loudness = spectrogram(click, window=64, hop=32).sum(-1)[0]
  assert loudness.shape == (11,) and loudness.argmax() == 4
  np.testing.assert_allclose(loudness[3], loudness[5], rtol=1e-5)
  assert np.all(np.delete(loudness, [3, 4, 5]) < 1e-6)


def test_of_few_bits_float32_and_gradients_at_silence():
  x = jnp.zeros((1, 128), jnp.bfloat16)
  assert spectrogram(x, window=32, hop=16).dtype == jnp.float32
  grad = jax.grad(lambda x: spectrogram(x, window=32, hop=16).sum())(jnp.zeros((1, 128)))
  assert np.all(np.isfinite(grad))


def test_mel_filters_by_interpolation():
  filters = mel_filters(16000, 512, 40, low=60.0, high=7000.0)
  mel = lambda f: 2595 * np.log10(1 + f / 700)
  points = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(mel(60), mel(7000), 42)]
  frequencies = np.arange(257) * 16000 / 512
  for m in range(40):
    triangle = np.interp(frequencies, points[m : m + 3], [0, 1, 0])
    np.testing.assert_allclose(filters[:, m], triangle, atol=1e-12)


def test_log_mel_and_its_floor(noise):
  loud, options = jnp.asarray(noise, jnp.float32), {"window": 256, "hop": 64}
  expected = np.log(np.asarray(spectrogram(loud, **options)) @ mel_filters(RATE, 256, 40))
  found = log_mel(loud, rate=RATE, **options)
  assert found.shape == (2, 16, 40)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(log_mel(0 * loud, rate=RATE, floor=1e-3), np.log(1e-3), rtol=1e-6)


def test_a_batch_over_devices_is_never_gathered():
  devices = jax.device_count()
  if devices == 1:
    pytest.skip("one device")
  mesh = jax.make_mesh((devices,), ("data",), (jax.sharding.AxisType.Auto,))
  split = jax.NamedSharding(mesh, jax.P("data"))
  x = jax.ShapeDtypeStruct((devices, 256), jnp.float32, sharding=split)
  program = jax.jit(lambda x: log_mel(x, rate=RATE)).lower(x).compile().as_text()
  assert "all-gather" not in program


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: spectrogram(jnp.zeros(8)), r"x must be float\[B, T\]; found float32\[8\]"),
    (lambda: spectrogram(jnp.zeros((1, 8), jnp.int16)), r"found int16\[1, 8\]"),
    (lambda: spectrogram(jnp.zeros((1, 8)), window=7), "window is 7, hop 64; window must be even"),
    (lambda: spectrogram(jnp.zeros((1, 8)), window=8, hop=9), r"hop in \[1, window\]"),
    (lambda: mel_filters(RATE, 64, 40), "40 filters are too many for a window of 64 .* number 0"),
    (lambda: mel_filters(RATE, 256, 8, high=5000), "high 5000; they must rise from 0 to 4000"),
  ],
)
def test_bad_input_is_named(call, message):
  with pytest.raises(ValueError, match=message):
    call()
