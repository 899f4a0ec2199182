"""VQ-VAE for sound: shapes, the paper's sizes, what gradients reach, and speaking."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import quantize
from vqlab.autoencoders import vqvae_audio
from vqlab.autoencoders.vqvae_audio import AudioVQVAE, Sound
from vqlab.nn.costs import macs
from vqlab.nn.mu_law import companded, inverse_mu_law, mu_law

SMALL = {
  "num_speakers": 3, "strides": (2, 2, 3), "channels": 8, "residual_channels": 4, "code_dim": 4,
  "num_residual_blocks": 1, "local_features": 5, "num_local_blocks": 1, "decoder_channels": 6,
  "skip_channels": 7, "hidden": 8, "num_layers": 4, "cycle": 3, "num_sample_codes": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def setup():
  model = AudioVQVAE(**SMALL)
  samples = 0.3 * jax.random.normal(jax.random.key(0), (3, 50))
  sound = Sound(samples, jnp.array([0, 2, 1], jnp.int32))
  codebooks = (quantize.init(jax.random.key(2), 16, 4).codebook,)
  params = jax.jit(model.init)(jax.random.key(1), sound, codebooks)["params"]
  return model, params, codebooks, sound


def test_the_halves_of_forward(setup):
  model, params, codebooks, sound = setup
  out = jax.jit(vqvae_audio.forward, static_argnums=0)(*setup)
  (codes,) = vqvae_audio.encode(*setup)
  assert codes.shape == (3, 5) and (codes.shape[1:],) == model.map_shapes(50)  # ceil(50 / 12)
  np.testing.assert_array_equal(codes, out.quantized[0].indices)
  assert out.reconstruction.shape == (3, 50, 32)
  # Of the speakers encoding knows nothing; the decoder does.
  others = Sound(sound.samples, (sound.speakers + 1) % 3)
  np.testing.assert_array_equal(vqvae_audio.encode(model, params, codebooks, others)[0], codes)
  told = vqvae_audio.forward(model, params, codebooks, others).reconstruction
  assert np.abs(told - out.reconstruction).max() > 1e-3
  # And the decoder is the prior that `speak` draws from.
  cond = vqvae_audio.decoder_conditions(model, params, codebooks, (codes,), sound.speakers)
  logits = model.decoder().apply(
    {"params": params["wavenet"]}, mu_law(sound.samples, num_codes=32), cond
  )
  np.testing.assert_allclose(logits, out.reconstruction, atol=1e-5)


def test_losses(setup):
  sound, out = setup[-1], vqvae_audio.forward(*setup)
  got = vqvae_audio.losses(out, sound, error=vqvae_audio.nats)
  log_p = np.asarray(jax.nn.log_softmax(out.reconstruction))
  codes = np.asarray(mu_law(sound.samples, num_codes=32))
  expected = -np.take_along_axis(log_p, codes[..., None], -1)[..., 0].mean(1)
  np.testing.assert_allclose(got.reconstruction, expected, rtol=1e-5)
  distance = np.square(np.float64(out.z[0]) - out.quantized[0].codes).mean(axis=(1, 2))
  np.testing.assert_allclose(got.commitment, distance, rtol=1e-5)


def test_a_strange_past_is_heard_and_not_asked_for(setup):
  model, params, codebooks, sound = setup
  forward = jax.jit(vqvae_audio.forward, static_argnums=0)
  other = 0.3 * jax.random.normal(jax.random.key(7), sound.samples.shape)
  first = jnp.array([0, 20, 49], jnp.int32)
  strange = sound._replace(other=other, first=first)
  out, own = (forward(model, params, codebooks, x) for x in (strange, sound))
  np.testing.assert_array_equal(out.quantized[0].indices, own.quantized[0].indices)
  # What the decoder is given is the codes', and samples of which those before `first` are others.
  mixed = jnp.where(jnp.arange(50) < first[:, None], other, sound.samples)
  (codes,) = (q.indices for q in own.quantized)
  cond = vqvae_audio.decoder_conditions(model, params, codebooks, (codes,), sound.speakers)
  logits = model.decoder().apply({"params": params["wavenet"]}, mu_law(mixed, num_codes=32), cond)
  np.testing.assert_allclose(out.reconstruction, logits, atol=1e-5)
  plain, found = (
    vqvae_audio.nats(out.reconstruction, sound),
    vqvae_audio.losses(out, strange, error=vqvae_audio.nats),
  )
  for row, n in enumerate(first):
    np.testing.assert_allclose(found.reconstruction[row], plain[row, n:].mean(), rtol=1e-5)


def test_gradients_reach_what_they_should(setup):
  model, params, codebooks, sound = setup

  @functools.partial(jax.jit, static_argnums=2)
  def grads(params, codebooks, term):
    def loss(params, codebooks):
      out = vqvae_audio.forward(model, params, codebooks, sound)
      return jnp.sum(getattr(vqvae_audio.losses(out, sound, error=vqvae_audio.nats), term))

    return jax.grad(loss, argnums=(0, 1))(params, codebooks)

  def reached(term):
    dp, (de,) = grads(params, codebooks, term)
    nonzero = {k for k, v in dp.items() if any(jnp.any(x != 0) for x in jax.tree.leaves(v))}
    return nonzero, bool(jnp.any(de != 0))

  encoder = {k for k in params if k.startswith(("down", "encoder", "to_codes"))}
  assert reached("reconstruction") == (set(params), False)  # straight through to the encoder
  assert reached("codebook") == (set(), True)
  assert reached("commitment") == (encoder, False)


def test_the_same_seed_the_same_sound_in_any_batch(setup):
  model, params, codebooks, sound = setup
  speak = jax.jit(vqvae_audio.speak, static_argnames=("model", "length"))
  codes = vqvae_audio.encode(*setup)
  of = {"model": model, "params": params, "codebooks": codebooks}
  drawn = speak(jax.random.key(5), codes=codes, speakers=sound.speakers, **of)
  assert drawn.shape == (3, 60) and np.abs(drawn).max() <= 1
  alone = speak(
    jax.random.key(5), codes=(codes[0][2:],), speakers=sound.speakers[2:], first_index=2, **of
  )
  np.testing.assert_array_equal(alone[0], drawn[2])
  short = speak(jax.random.key(5), codes=codes, speakers=sound.speakers, length=50, **of)
  np.testing.assert_array_equal(short, drawn[:, :50])


def test_what_is_missing_or_wrong_is_named(setup):
  model, params, codebooks, sound = setup
  with pytest.raises(ValueError, match=r"speakers are missing: this model has 3; pass int\[B\]"):
    vqvae_audio.forward(model, params, codebooks, Sound(sound.samples))
  with pytest.raises(ValueError, match=r"samples must be \[B, T\]; found \[3, 50, 1\]"):
    vqvae_audio.encode(model, params, codebooks, Sound(sound.samples[..., None]))
  with pytest.raises(ValueError, match="strides are"):
    AudioVQVAE(strides=()).init(jax.random.key(0), sound, codebooks)
  codes = vqvae_audio.encode(*setup)
  with pytest.raises(ValueError, match="labels 0"):
    vqvae_audio.speak(
      jax.random.key(0), model, params, codebooks, codes, np.array([0, 3, 1], np.int32)
    )
  for wrong, options, match in (
    (codes, {"length": 61}, r"length is 61; codes \[3, 5\] are at most 60 samples"),
    ((codes[0] + 16,), {}, r"codes run from .*; they must be in \[0, 16\)"),
  ):
    with pytest.raises(ValueError, match=match):
      vqvae_audio.speak(jax.random.key(0), *setup[:3], wrong, sound.speakers, **options)


def test_the_papers_sizes():
  """Six strided convolutions make 64x; seven and one of 5 make 640x."""
  assert AudioVQVAE().hop == 64 and AudioVQVAE(strides=(2,) * 7).map_shapes(40_960) == ((320,),)
  assert AudioVQVAE(strides=(2,) * 7 + (5,)).hop == 640
  model = AudioVQVAE(num_speakers=109)
  sound = Sound(jnp.zeros((1, 16_000)), jnp.zeros(1, jnp.int32))
  books = (jnp.zeros((512, 64)),)
  params = jax.eval_shape(model.init, jax.random.key(0), sound, books)["params"]
  sizes = {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in params.items()}
  # A layer: gates of two taps, their bias, residual, skip, conditions and speakers.
  C, S, F, L = 256, 256, 128, 30
  layers = L * (2 * C * 2 * C + 2 * C + C * S + 2 * C * (F + 109)) + (L - 1) * (C * C + C)
  head = 256 * C + S + S * 256 + 256 + 256 * 256 + 256
  assert sizes["wavenet"] == layers + head
  encoder = (4 * 256 + 256) + 5 * (4 * 256 * 256 + 256) + 256 * 64 + 64
  assert sum(sizes.values()) == sizes["wavenet"] + encoder + 3 * 64 * F + F == 16_945_856
  assert model.decoder().receptive_field == 3070
  cost = macs(lambda p: vqvae_audio.forward(model, p, books, sound).reconstruction, params)
  assert cost / 1e9 == pytest.approx(192.3, abs=0.1)  # a second of sound


def test_mu_law():
  codes = jnp.arange(256, dtype=jnp.int32)
  np.testing.assert_array_equal(mu_law(inverse_mu_law(codes)), codes)
  ends = inverse_mu_law(codes)
  assert ends[0] == -1 and ends[-1] == 1
  x = jnp.linspace(-1, 1, 4001)
  error = companded(inverse_mu_law(mu_law(x))) - companded(x)
  assert np.abs(error).max() < 1.0001 / 255  # half of a step
  assert list(mu_law(jnp.array([-3.0, 0.0, 7.0]))) == [0, 128, 255]
