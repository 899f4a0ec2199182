"""VQ-VAE: shapes, the paper's sizes, gradient flow, and encode/decode as functions of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import quantize
from vqlab.autoencoders import vqvae

SMALL = {"image_channels": 1, "channels": 8, "residual_channels": 8, "code_dim": 4}


@pytest.fixture(scope="module")
def setup():
  model = vqvae.VQVAE(**SMALL)
  images = jax.random.uniform(jax.random.key(0), (3, 16, 12, 1))
  codebooks = (quantize.init(jax.random.key(2), 16, 4).codebook,)
  params = model.init(jax.random.key(1), images, codebooks)["params"]
  return model, params, codebooks, images


def test_encode_and_decode_are_the_halves_of_forward(setup):
  model, params, codebooks, images = setup
  out = jax.jit(vqvae.forward, static_argnums=0)(*setup)
  codes = jax.jit(vqvae.encode, static_argnums=0)(model, params, codebooks, images)
  assert len(codes) == 1 and codes[0].shape == (3, 4, 3) and codes[0].dtype == jnp.int32
  np.testing.assert_array_equal(codes[0], out.quantized[0].indices)
  decoded = jax.jit(vqvae.decode, static_argnums=0)(model, params, codebooks, codes)
  assert decoded.shape == images.shape
  np.testing.assert_allclose(decoded, out.reconstruction, atol=1e-5)


def test_several_codes_a_position_share_one_codebook(setup):
  _, _, codebooks, images = setup
  model = vqvae.VQVAE(**SMALL, codes_per_position=3)
  params = model.init(jax.random.key(1), images, codebooks)["params"]
  out = vqvae.forward(model, params, codebooks, images)
  assert out.z[0].shape == (3, 4, 3, 3, 4)
  assert (out.quantized[0].indices.shape[1:],) == model.map_shapes(16, 12) == ((4, 3, 3),)
  distance = np.square(np.float64(out.z[0]) - out.quantized[0].codes).mean(axis=(1, 2, 3, 4))
  np.testing.assert_allclose(vqvae.losses(out, images).codebook, distance, rtol=1e-5)
  codes = vqvae.encode(model, params, codebooks, images)
  assert vqvae.decode(model, params, codebooks, codes).shape == images.shape


def test_gradients_reach_what_they_should(setup):
  model, params, codebooks, images = setup

  def grads(term):
    def loss(params, codebooks):
      out = vqvae.forward(model, params, codebooks, images)
      return jnp.sum(getattr(vqvae.losses(out, images), term))

    dp, (de,) = jax.grad(loss, argnums=(0, 1))(params, codebooks)
    nonzero = {k for k, v in dp.items() if any(jnp.any(x != 0) for x in jax.tree.leaves(v))}
    return nonzero, bool(jnp.any(de != 0))

  encoder = {k for k in params if k.startswith(("down", "encoder", "to_codes"))}
  assert grads("reconstruction") == (set(params), False)  # straight through to the encoder
  assert grads("codebook") == (set(), True)
  assert grads("commitment") == (encoder, False)


def test_losses_are_the_papers_terms(setup):
  images = setup[-1]
  out = vqvae.forward(*setup)
  got = vqvae.losses(out, images)
  z, codes = np.float64(out.z[0]), np.float64(out.quantized[0].codes)
  distance = np.square(z - codes).mean(axis=(1, 2, 3))
  error = np.square(np.float64(out.reconstruction) - images).mean(axis=(1, 2, 3))
  np.testing.assert_allclose(got.reconstruction, error, rtol=1e-5)
  np.testing.assert_allclose(got.codebook, distance, rtol=1e-5)
  np.testing.assert_allclose(got.commitment, distance, rtol=1e-5)


def test_bfloat16_keeps_float32_codes_losses_and_params(setup):
  _, params, codebooks, images = setup
  model = vqvae.VQVAE(**SMALL, dtype=jnp.bfloat16)
  out = vqvae.forward(model, params, codebooks, images)
  (z,), (quantized,) = out.z, out.quantized
  assert z.dtype == quantized.vectors.dtype == jnp.bfloat16
  assert quantized.codes.dtype == out.reconstruction.dtype == jnp.float32
  exact = quantize.assign(z.astype(jnp.float32), codebooks[0])
  np.testing.assert_array_equal(quantized.indices, exact)
  assert {x.dtype for x in jax.tree.leaves(vqvae.losses(out, images))} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
  ("fields", "image", "codes"),
  [
    ({"codes_per_position": 10}, (32, 32, 3), (8, 8, 10)),  # CIFAR-10 of the paper
    ({}, (128, 128, 3), (32, 32)),  # ImageNet of the paper
  ],
)
def test_the_papers_sizes_without_compiling(fields, image, codes):
  model = vqvae.VQVAE(**fields)
  images = jax.ShapeDtypeStruct((128, *image), jnp.float32)
  codebooks = (jax.ShapeDtypeStruct((512, 64), jnp.float32),)
  params = jax.eval_shape(model.init, jax.random.key(0), images, codebooks)["params"]
  out = jax.eval_shape(lambda *a: vqvae.forward(model, *a), params, codebooks, images)
  assert out.quantized[0].indices.shape == (128, *codes)
  assert model.map_shapes(*image[:2]) == (codes,)
  assert out.reconstruction.shape == (128, *image)
  # By hand: 4x4 convolutions, two blocks a side, the 1x1 and the 3x3 around the codes.
  block = (9 * 256 + 1) * 256 + (256 + 1) * 256
  wide = fields.get("codes_per_position", 1) * 64
  expected = (
    (16 * 3 + 1) * 256 + (16 * 256 + 1) * 256 + 2 * block + (256 + 1) * wide
    + (9 * wide + 1) * 256 + 2 * block + (16 * 256 + 1) * 256 + (16 * 256 + 1) * 3
  )  # fmt: skip
  assert sum(x.size for x in jax.tree.leaves(params)) == expected


def test_fields_out_of_range_are_named():
  for name in ("num_downsamples", "codes_per_position", "code_dim"):
    with pytest.raises(ValueError, match=f"VQVAE: {name} is 0; it must be at least 1"):
      model = vqvae.VQVAE(**SMALL | {name: 0})
      model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), (jnp.zeros((5, 4)),))


@pytest.mark.parametrize(
  ("shape", "message"),
  [
    ((2, 14, 16, 1), r"multiples of 4 = 2\^num_downsamples; found 14x16"),
    ((2, 16, 16, 3), r"must be \[B, H, W, 1\]"),
    ((16, 16, 1), r"must be \[B, H, W, 1\]"),
  ],
)
def test_bad_images_are_named(setup, shape, message):
  model, params, codebooks, _ = setup
  with pytest.raises(ValueError, match=message):
    vqvae.encode(model, params, codebooks, jnp.zeros(shape))


def test_one_codebook_is_a_tuple_of_one(setup):
  model, params, (codebook,), images = setup
  with pytest.raises(ValueError, match=r"VQVAE: 16 codebooks for 1 levels; give a tuple of \[K, 4"):
    vqvae.forward(model, params, codebook, images)
