"""The classifier of sounds: what its network is given."""

import jax
import jax.numpy as jnp
import numpy as np

from vqlab import features


def test_it_is_the_small_classifier_of_a_log_mel_image():
  options = {"widths": (8, 16), "blocks": 1}
  model = features.SoundClassifier(num_classes=3, rate=8000, num_mels=16, **options)
  sounds = jnp.asarray(np.random.default_rng(0).normal(size=(2, 700)) / 4, jnp.float32)
  params = jax.jit(model.init)(jax.random.key(0), sounds)["params"]
  loudness = (features.log_mel(sounds, rate=8000, num_mels=16) + 6) / 3
  height = jnp.broadcast_to(jnp.linspace(-1, 1, 16), loudness.shape)
  image = jnp.stack([loudness, height], axis=-1)
  assert image.shape == (2, 11, 16, 2)
  network = features.SmallClassifier(num_classes=3, **options)
  for method in ("__call__", "features"):
    expected = network.apply({"params": params["network"]}, image, method=method)
    found = model.apply({"params": params}, sounds, method=method)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_in_bfloat16_spectrogram_and_logits_are_float32():
  model = features.SoundClassifier(num_classes=3, rate=8000, dtype=jnp.bfloat16)
  sounds = jax.ShapeDtypeStruct((2, 700), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), sounds)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
  logits = jax.eval_shape(model.apply, params, sounds)
  assert logits.dtype == jnp.float32 and logits.shape == (2, 3)
