"""A classifier that judges sound: a small network over its log-mel spectrogram.

Shapes: B batch, T samples, F = ceil(T / hop) frames, M mel filters, D features, Y classes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqlab.features.classifier import SmallClassifier
from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.spectrogram import log_mel


class SoundClassifier(nn.Module):
  """`SmallClassifier` over log-mel spectrograms as images [B, F, M, 2].

      model = SoundClassifier(num_classes=10, rate=16000)
      params = model.init(key, sounds)["params"]
      logits = model.apply({"params": params}, sounds, train=True, rngs={"dropout": key})
      features = model.apply({"params": params}, sounds, method="features")      # [B, D]

  The first channel is (log_mel + 6) / 3: silence reads about -2, full scale about 2, of all sounds
  alike, so that how loud one is can be heard. The second says which filter it is, from -1 to 1:
  a small network, which slides over the map and averages it, would hear a tune but hardly how high.

  Attributes:
    num_classes: Y.
    rate: samples a second.
    window, hop, num_mels: see `log_mel`; F and M must be at least 8.
    widths, blocks, dropout, dtype, param_dtype: see `SmallClassifier`; D is the last width. The
      spectrogram is in float32 at least.
  """

  num_classes: int
  rate: int
  window: int = 256
  hop: int = 64
  num_mels: int = 40
  widths: tuple[int, ...] = (32, 64, 128)
  blocks: int = 2
  dropout: float = 0.1
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    self.network = SmallClassifier(
      num_classes=self.num_classes,
      widths=self.widths,
      blocks=self.blocks,
      dropout=self.dropout,
      dtype=self.dtype,
      param_dtype=self.param_dtype,
    )

  def features(self, sounds: jax.Array) -> jax.Array:
    """What the last layer reads, float32 at least: floats [B, T], of full scale 1, -> [B, D]."""
    return self.network.features(self._images(sounds))

  def __call__(self, sounds: jax.Array, train: bool = False) -> jax.Array:
    """Logits, float32 at least: [B, T] -> [B, Y]. With train a "dropout" key is needed."""
    return self.network(self._images(sounds), train)

  def _images(self, sounds: jax.Array) -> jax.Array:
    sounds = sounds.astype(at_least_float32(sounds.dtype, self.dtype))
    options = {"window": self.window, "hop": self.hop, "num_mels": self.num_mels}
    loudness = (log_mel(sounds, rate=self.rate, **options) + 6) / 3
    height = jnp.linspace(-1, 1, self.num_mels, dtype=loudness.dtype)
    return jnp.stack([loudness, jnp.broadcast_to(height, loudness.shape)], axis=-1)
