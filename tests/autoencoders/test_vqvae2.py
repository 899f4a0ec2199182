"""VQ-VAE-2: published sizes, who conditions whom, whose gradient reaches what, its functions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.autoencoders import vqvae2
from vqlab.autoencoders.vqvae2 import VQVAE2

SMALL = {"channels": 8, "residual_channels": 4, "num_residual_blocks": 1, "code_dim": 3}


def make(downsamples=(1, 2), size=16, seed=0, **fields):
  model = VQVAE2(downsamples=downsamples, **{**SMALL, **fields})
  keys = jax.random.split(jax.random.key(seed), 3 + len(downsamples))
  images = jax.random.uniform(keys[0], (2, size, size, 3), minval=-0.5, maxval=0.5)
  codebooks = tuple(jax.random.normal(k, (5 + l, 3)) for l, k in enumerate(keys[3:]))
  params = jax.jit(model.init)(keys[1], images, codebooks)["params"]
  return model, params, codebooks, images


@pytest.fixture(scope="module")
def two():
  return make()


@pytest.mark.parametrize(
  ("fields", "size", "maps", "count"),
  [
    # rosinality's default; the count is what its PyTorch module has.
    ({"residual_channels": 32}, 256, ((32, 32), (64, 64)), 1_388_867),
    ({}, 256, ((32, 32), (64, 64)), None),
    ({"downsamples": (1, 1, 3)}, 1024, ((32, 32), (64, 64), (128, 128)), None),
    ({"downsamples": (1, 1, 1, 1)}, 64, ((4, 4), (8, 8), (16, 16), (32, 32)), None),
    ({"downsamples": (2, 1)}, 64, ((8, 8), (32, 32)), None),
    ({"downsamples": (3,)}, 64, ((8, 8),), None),
  ],
)
def test_sizes(fields, size, maps, count):
  """Sections 3.1 and 4 of arXiv 1906.00446: 32x32 and 64x64 at 256, and 128x128 besides at 1024."""
  model = VQVAE2(**fields)
  assert model.map_shapes(size, size) == maps
  codebooks = [jnp.zeros((512, 64))] * len(maps)
  images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), images, codebooks)["params"]
  if count:
    assert sum(x.size for x in jax.tree.leaves(params)) == count
  out = jax.eval_shape(partial(vqvae2.forward, model), params, codebooks, images)
  assert out.reconstruction.shape == (1, size, size, 3)
  assert tuple(q.indices.shape[1:] for q in out.quantized) == maps


@pytest.mark.parametrize("downsamples", [(1, 2), (1, 1, 1)])
def test_encode_and_decode_are_the_two_halves_of_forward(downsamples):
  model, params, codebooks, images = make(downsamples)
  out = jax.jit(vqvae2.forward, static_argnums=0)(model, params, codebooks, images)
  codes = jax.jit(vqvae2.encode, static_argnums=0)(model, params, codebooks, images)
  copy = jax.jit(vqvae2.decode, static_argnums=0)(model, params, codebooks, codes)
  assert len(codes) == len(downsamples)
  for a, b in zip(codes, out.quantized, strict=True):
    np.testing.assert_array_equal(a, b.indices)
  np.testing.assert_allclose(copy, out.reconstruction, atol=1e-5)


def test_the_bottom_is_conditioned_on_the_top_and_not_the_other_way(two):
  model, params, codebooks, images = two
  out = vqvae2.forward(model, params, codebooks, images)
  other = vqvae2.forward(model, params, (codebooks[0][::-1] * 2, codebooks[1]), images)
  np.testing.assert_array_equal(out.z[0], other.z[0])
  assert np.abs(out.z[1] - other.z[1]).max() > 1e-3
  bottom = vqvae2.forward(model, params, (codebooks[0], codebooks[1] * 2), images)
  np.testing.assert_array_equal(out.z[1], bottom.z[1])
  np.testing.assert_array_equal(out.quantized[0].indices, bottom.quantized[0].indices)


def test_gradients_reach_what_they_should(two):
  """Reconstruction: all parameters, no codebook. Commitment: the encoders. Codebook: these."""
  model, params, codebooks, images = two

  def total(params, codebooks, term):
    out = vqvae2.forward(model, params, codebooks, images)
    return jnp.sum(getattr(vqvae2.losses(out, images), term))

  def reached(term):
    grads = jax.grad(total, argnums=(0, 1))(params, codebooks, term)
    return [
      {jax.tree_util.keystr(path) for path, g in leaves if np.abs(g).max() > 0}
      for leaves in map(jax.tree_util.tree_leaves_with_path, grads)
    ]

  everything = {jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(params)}
  network, codes = reached("reconstruction")
  assert network == everything and not codes
  network, codes = reached("codebook")
  assert not network and codes == {"[0]", "[1]"}
  network, codes = reached("commitment")
  assert not codes
  assert {n for n in network if "to_codes" in n or "encoders" in n} == {
    n for n in everything if "to_codes" in n or "encoders" in n
  }
  # What the bottom is conditioned on learns to serve it; what comes after the bottom does not.
  assert any("decoders_0" in n for n in network) and not any("decoders_1" in n for n in network)


def test_losses_are_means_an_example_and_sums_over_levels(two):
  model, params, codebooks, images = two
  out = vqvae2.forward(model, params, codebooks, images)
  terms = vqvae2.losses(out, images)
  squares = [
    np.square(np.asarray(z) - np.asarray(q.codes))
    for z, q in zip(out.z, out.quantized, strict=True)
  ]
  expected = sum(s.reshape(2, -1).mean(1) for s in squares)
  for term in (terms.codebook, terms.commitment):
    np.testing.assert_allclose(term, expected, rtol=1e-5)
  error = np.square(np.asarray(out.reconstruction) - np.asarray(images)).reshape(2, -1).mean(1)
  np.testing.assert_allclose(terms.reconstruction, error, rtol=1e-5)


def test_the_top_alone_is_decoded_with_the_mean_of_the_missing_codebook(two):
  model, params, codebooks, images = two
  top, bottom = vqvae2.encode(model, params, codebooks, images)
  alone = vqvae2.decode(model, params, codebooks, (top,))
  # A codebook whose codes are all its mean decodes to the same, whatever the bottom's codes.
  flat = jnp.broadcast_to(codebooks[1].mean(0), codebooks[1].shape)
  np.testing.assert_allclose(
    alone, vqvae2.decode(model, params, (codebooks[0], flat), (top, bottom)), atol=1e-5
  )


def test_bfloat16_computes_codes_and_images_in_float32(two):
  _, params, codebooks, images = two
  model = VQVAE2(**SMALL, dtype=jnp.bfloat16)
  out = vqvae2.forward(model, params, codebooks, images)
  assert out.reconstruction.dtype == out.z[0].dtype == out.quantized[1].vectors.dtype == jnp.float32
  whole = vqvae2.forward(VQVAE2(**SMALL), params, codebooks, images)
  assert 0 < np.abs(out.reconstruction - whole.reconstruction).max() < 0.2


def test_bad_input(two):
  model, params, codebooks, images = two
  forward = partial(vqvae2.forward, model, params)
  for call, message in (
    (lambda: forward(codebooks, images[:, :12]), "images of 12x16; .*sides that 8 divides"),
    (
      lambda: forward(codebooks, images[..., :1]),
      r"images have shape .*1\]; expected \[B, H, W, 3",
    ),
    (lambda: forward(codebooks, images[0]), r"expected \[B, H, W, 3\]"),
    (lambda: forward(codebooks[:1], images), "1 codebooks for 2 levels"),
    (
      lambda: forward((codebooks[0], codebooks[1][:, :2]), images),
      r"codebook 1 .*expected \[K, 3\]",
    ),
    (lambda: vqvae2.decode(model, params, codebooks, ()), "codes of 0 levels; the model has 2"),
    (lambda: VQVAE2(downsamples=()).init(jax.random.key(0), images, ()), "needs at least 1"),
    (
      lambda: VQVAE2(channels=1).init(jax.random.key(0), images, codebooks),
      "channels is 1; it must",
    ),
  ):
    with pytest.raises(ValueError, match=message):
      call()
