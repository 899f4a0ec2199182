"""Spectrograms of sound, by products with the Fourier basis.

A product is split over devices with its batch, where XLA gathers the whole batch for an FFT; at
windows of a few hundred samples it costs next to nothing beside the network that reads it.

Shapes: B batch, T samples, F = ceil(T / hop) frames, N = window // 2 + 1 bins, M mel filters.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vqlab.nn.dtypes import at_least_float32


def spectrogram(x: jax.Array, *, window: int = 256, hop: int = 64) -> jax.Array:
  """Magnitudes of the Fourier transform under a Hann window: [B, T] -> [B, F, N].

  Frame f is of the samples f hop - window // 2, ..., of which there are `window`, with zeros where
  there is no sound; so it is centred on sample f hop, and F = ceil(T / hop). Bin k is of frequency
  k rate / window. The scale: a sine of amplitude 1 at a bin within reads 1, whatever the window. So
  they are twice those of `scipy.signal.stft`, whose frames stand alike; the first and the last bin
  are doubled as the others are.

  Args:
    x: floats, of full scale 1.
    window: samples of a frame, even; the Hann window is the periodic one.
    hop: samples from frame to frame, at most `window`.

  Returns:
    float32 at least.

  Raises:
    ValueError: x is not float[B, T], or window or hop are none.
  """
  if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f"spectrogram: x must be float[B, T]; found {x.dtype}{list(x.shape)}")
  if window < 2 or window % 2 or not 1 <= hop <= window:
    raise ValueError(
      f"spectrogram: window is {window}, hop {hop}; window must be even, hop in [1, window]"
    )
  frames = _frames(x.astype(at_least_float32(x.dtype)), window, hop)
  parts = _product(frames, _basis(window))
  real, imaginary = jnp.split(parts, 2, axis=-1)
  power = jnp.square(real) + jnp.square(imaginary)
  return jnp.sqrt(jnp.maximum(power, jnp.finfo(power.dtype).tiny))  # sqrt has no slope at 0


def frame_length(rate: float) -> int:
  """Samples of a frame of about 32 ms, a power of 2: 256 at 8 kHz, 512 at 16 kHz."""
  return 2 ** round(math.log2(0.032 * rate))


def mel_filters(
  rate: float, window: int, num_mels: int, *, low: float = 0.0, high: float | None = None
) -> np.ndarray:
  """Triangles over the bins of a spectrogram, evenly spaced in mel: f64[N, M].

  HTK's scale: mel(f) = 2595 log10(1 + f / 700). Filter m rises from 0 at point m to 1 at point
  m + 1 and falls to 0 at point m + 2, linearly in Hz; the M + 2 points go from `low` to `high` in
  equal steps of mel. As torchaudio's melscale_fbanks and librosa's mel with htk=True, norm=None.

  Args:
    rate: samples a second.
    low, high: Hz; no `high` is rate / 2.

  Raises:
    ValueError: the frequencies are in no order, or a filter lies between two bins.
  """
  high = rate / 2 if high is None else high
  if not 0 <= low < high <= rate / 2:
    raise ValueError(
      f"mel_filters: low is {low:g} Hz, high {high:g}; they must rise from 0 to {rate / 2:g}"
    )
  low_mel, high_mel = (2595 * np.log10(1 + f / 700) for f in (low, high))
  points = 700 * (10 ** (np.linspace(low_mel, high_mel, num_mels + 2) / 2595) - 1)
  bins = np.arange(window // 2 + 1)[:, None] * rate / window
  rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
  falling = (points[2:] - bins) / (points[2:] - points[1:-1])
  filters = np.maximum(0, np.minimum(rising, falling))
  if not filters.any(axis=0).all():
    raise ValueError(
      f"mel_filters: {num_mels} filters are too many for a window of {window} samples at {rate:g} "
      f"a second: number {int(filters.any(axis=0).argmin())} lies between two bins"
    )
  return filters


def log_mel(
  x: jax.Array,
  *,
  rate: float,
  window: int = 256,
  hop: int = 64,
  num_mels: int = 40,
  floor: float = 1e-5,
) -> jax.Array:
  """ln max(floor, magnitudes through mel filters): [B, T] -> [B, F, M], see the two above.

  Silence is ln floor, about -11.5; sound at full scale is about 0.

  Args:
    x: floats, of full scale 1.
    rate: samples a second.
  """
  magnitudes = spectrogram(x, window=window, hop=hop)
  filters = mel_filters(rate, window, num_mels)
  return jnp.log(jnp.maximum(_product(magnitudes, filters), floor))


def _frames(x: jax.Array, window: int, hop: int) -> jax.Array:
  """[B, T] -> [B, F, window]: blocks of hop samples, side by side as many as a window needs."""
  count, blocks = -(-x.shape[1] // hop), -(-window // hop)
  front = window // 2
  back = max(0, (count + blocks - 1) * hop - front - x.shape[1])
  x = jnp.pad(x, ((0, 0), (front, back)))[:, : (count + blocks - 1) * hop]
  x = x.reshape(len(x), -1, hop)
  return jnp.concatenate([x[:, i : i + count] for i in range(blocks)], axis=2)[..., :window]


def _basis(window: int) -> np.ndarray:
  """f64[window, 2 N]: cosines and sines under the Hann window, over half its sum."""
  n = np.arange(window)
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
  turns = n[:, None] * np.arange(window // 2 + 1) % window / window
  waves = np.concatenate([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], axis=1)
  return hann[:, None] * waves / (hann.sum() / 2)


def _product(x: jax.Array, matrix: ArrayLike) -> jax.Array:
  """[..., C] and [C, D] -> [..., D] to x's full precision: accelerators would use fewer bits."""
  return jnp.matmul(x, jnp.asarray(matrix, x.dtype), precision=jax.lax.Precision.HIGHEST)
