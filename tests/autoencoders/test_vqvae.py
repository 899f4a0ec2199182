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
  params = model.init(jax.random.key(1), images)["params"]
  codebook = quantize.init(jax.random.key(2), 16, 4).codebook
  return model, params, codebook, images


def test_encode_and_decode_are_the_halves_of_forward(setup):
  model, params, codebook, images = setup
  out = jax.jit(vqvae.forward, static_argnums=0)(*setup)
  codes = jax.jit(vqvae.encode, static_argnums=0)(model, params, codebook, images)
  assert codes.shape == (3, 4, 3) and codes.dtype == jnp.int32
  np.testing.assert_array_equal(codes, out.quantized.indices)
  decoded = jax.jit(vqvae.decode, static_argnums=0)(model, params, codebook, codes)
  assert decoded.shape == images.shape
  np.testing.assert_allclose(decoded, out.reconstruction, atol=1e-5)


def test_several_codes_a_position_share_one_codebook(setup):
  _, _, codebook, images = setup
  model = vqvae.VQVAE(**SMALL, codes_per_position=3)
  params = model.init(jax.random.key(1), images)["params"]
  out = vqvae.forward(model, params, codebook, images)
  assert out.z.shape == (3, 4, 3, 3, 4) and out.quantized.indices.shape == (3, 4, 3, 3)
  assert vqvae.decode(model, params, codebook, out.quantized.indices).shape == images.shape


def test_gradients_reach_what_they_should(setup):
  model, params, codebook, images = setup

  def grads(term):
    def loss(params, codebook):
      out = vqvae.forward(model, params, codebook, images)
      return jnp.sum(getattr(vqvae.losses(out, images), term))

    dp, de = jax.grad(loss, argnums=(0, 1))(params, codebook)
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
  z, codes = np.float64(out.z), np.float64(out.quantized.codes)
  distance = np.square(z - codes).mean(axis=(1, 2, 3))
  error = np.square(np.float64(out.reconstruction) - images).mean(axis=(1, 2, 3))
  np.testing.assert_allclose(got.reconstruction, error, rtol=1e-5)
  np.testing.assert_allclose(got.codebook, distance, rtol=1e-5)
  np.testing.assert_allclose(got.commitment, distance, rtol=1e-5)


def test_bfloat16_keeps_float32_codes_losses_and_params(setup):
  _, params, codebook, images = setup
  model = vqvae.VQVAE(**SMALL, dtype=jnp.bfloat16)
  out = vqvae.forward(model, params, codebook, images)
  assert out.z.dtype == out.quantized.vectors.dtype == jnp.bfloat16
  assert out.quantized.codes.dtype == out.reconstruction.dtype == jnp.float32
  exact = quantize.assign(out.z.astype(jnp.float32), codebook)
  np.testing.assert_array_equal(out.quantized.indices, exact)
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
  params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  codebook = jax.ShapeDtypeStruct((512, 64), jnp.float32)
  out = jax.eval_shape(lambda *a: vqvae.forward(model, *a), params, codebook, images)
  assert out.quantized.indices.shape == (128, *codes)
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
      vqvae.VQVAE(**SMALL | {name: 0}).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


@pytest.mark.parametrize(
  ("shape", "message"),
  [
    ((2, 14, 16, 1), r"multiples of 4 = 2\^num_downsamples; found 14x16"),
    ((2, 16, 16, 3), r"must be \[B, H, W, 1\]"),
    ((16, 16, 1), r"must be \[B, H, W, 1\]"),
  ],
)
def test_bad_images_are_named(setup, shape, message):
  model, params, codebook, _ = setup
  with pytest.raises(ValueError, match=message):
    vqvae.encode(model, params, codebook, jnp.zeros(shape))
