"""How far apart two sounds are, as spectra."""

import jax
import jax.numpy as jnp

from vqlab.nn.spectrogram import spectrogram


def log_spectral_distance(
  x: jax.Array,
  y: jax.Array,
  *,
  lengths: jax.Array | None = None,
  window: int = 256,
  hop: int = 64,
  floor_db: float = -80.0,
) -> jax.Array:
  """Log spectral distance in dB: [B, T] and [B, T] -> [B].

  Of each frame the root of the mean over bins of (20 log10 |X| - 20 log10 |Y|)^2 (Gray and Markel,
  Distance measures for speech processing, IEEE Trans. ASSP 24(5), 1976: d_2, here over the bins of
  `vqlab.nn.spectrogram` instead of an integral), then the mean over the frames that are centred on
  a real sample.

  Args:
    x, y: floats, of full scale 1, of one shape.
    lengths: i32[B], real samples; what follows them is taken as zeros and counts for nothing. None:
      all T. A length of 0 gives NaN.
    window, hop: samples, see `vqlab.features.spectrogram`.
    floor_db: what is quieter counts as so loud. 0 dB is a sine of amplitude 1.

  Raises:
    ValueError: the shapes differ.
  """
  if x.shape != y.shape:
    raise ValueError(f"log_spectral_distance: shapes must agree; found {x.shape} and {y.shape}")
  lengths = jnp.asarray(jnp.full(len(x), x.shape[1]) if lengths is None else lengths)
  real = jnp.arange(x.shape[1], dtype=lengths.dtype) < lengths[:, None]
  of = {"window": window, "hop": hop, "floor_db": floor_db}
  levels = (decibels(jnp.where(real, sound, 0), **of) for sound in (x, y))
  return spectral_distance(*levels, where=real[:, ::hop])


def decibels(
  x: jax.Array, *, window: int = 256, hop: int = 64, floor_db: float = -80.0
) -> jax.Array:
  """20 log10 of a sound's magnitudes, `floor_db` at least: [B, T] -> [B, F, N].

  0 dB is a sine of amplitude 1; see `vqlab.features.spectrogram`.
  """
  magnitudes = spectrogram(x, window=window, hop=hop)
  return 20 * jnp.log10(jnp.maximum(magnitudes, 10 ** (floor_db / 20)))


def spectral_distance(x: jax.Array, y: jax.Array, *, where: jax.Array) -> jax.Array:
  """The mean over frames of the root mean square over bins of x - y: [B, F, N] -> [B].

  Args:
    x, y: in dB, of shapes that broadcast.
    where: bool[B, F], the frames that count.
  """
  frames = jnp.sqrt(jnp.mean(jnp.square(x - y), axis=-1))
  return jnp.mean(frames, axis=-1, where=where)
