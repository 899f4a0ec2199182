"""The categorical VAE against its own enumeration: four latents of two values, 16 codes in all."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import losses
from vqlab.autoencoders import categorical_vae, discrete
from vqlab.autoencoders.categorical_vae import CategoricalVAE
from vqlab.autoencoders.vqvae import VQVAE

LIKELIHOOD = losses.DiscretizedLogistic()
EVERY = np.array(list(itertools.product(range(2), repeat=4)), np.int32).reshape(16, 2, 2)


@pytest.fixture(scope="module")
def case():
  sizes = {"channels": 4, "residual_channels": 4, "num_residual_blocks": 1, "num_downsamples": 1}
  networks = VQVAE(image_channels=1, code_dim=2, output_channels=LIKELIHOOD.outputs(1), **sizes)
  model = CategoricalVAE(networks, LIKELIHOOD)
  images = jax.random.randint(jax.random.key(0), (3, 4, 4, 1), 0, 256).astype(jnp.uint8)
  codebooks = (jax.random.normal(jax.random.key(1), (2, 3)),)
  params = model.init(jax.random.key(2), images, codebooks)["params"]
  params = jax.tree.map(lambda x: 1.5 * x, params)
  return model, params, codebooks, images, jax.random.split(jax.random.key(3), 3)


@pytest.fixture(scope="module")
def enumerated(case):
  """log p(x, z) and log q(z | x) of every z, [16, B]."""
  model, params, codebooks, images, _ = case
  log_p = model.apply({"params": params}, images, method="logits")  # [B, 2, 2, 2]
  log_q = jnp.take_along_axis(log_p[None], EVERY[:, None, :, :, None], axis=-1).sum((2, 3, 4))
  decoded = jax.jit(lambda: discrete.decode(model, params, codebooks, (jnp.asarray(EVERY),)))()
  log_px = jax.vmap(lambda d: LIKELIHOOD.log_prob(jnp.broadcast_to(d, (3, *d.shape)), images))(
    decoded
  )
  return log_px - 4 * np.log(2), log_q


def test_bounds_are_ordered_and_tight(case, enumerated):
  model, params, codebooks, images, keys = case
  joint, log_q = enumerated
  evidence = jax.nn.logsumexp(joint, axis=0)
  drawn = categorical_vae.draw(model, params, codebooks, images, keys, 5000)
  groups = losses.multisample_bound(drawn.log_weights.reshape(50, 100, 3))  # 100 of 50 samples
  fifty, spread = groups.mean(0), groups.std(0) / 10
  elbo = jnp.sum(jnp.exp(log_q) * (joint - log_q), axis=0)  # exact
  error = drawn.log_weights.std(0) / 5000**0.5
  assert (np.abs(drawn.log_weights.mean(0) - elbo) < 4 * error).all()
  assert (evidence - elbo > 0.1).all() and (fifty < evidence + 3 * spread).all()
  assert (evidence - fifty < 0.3 * (evidence - elbo) + 3 * spread).all()
  # What a code alone says is a bound, too: that of the most probable one.
  (indices,) = discrete.encode(model, params, codebooks, images)
  best = joint[indices.reshape(3, 4) @ np.array([8, 4, 2, 1]), np.arange(3)]
  assert (best <= evidence).all()


def test_drawn_weights_are_those_of_some_code(case, enumerated):
  model, params, codebooks, images, keys = case
  joint, log_q = enumerated
  drawn = categorical_vae.draw(model, params, codebooks, images, keys, 20)
  known = np.asarray(joint - log_q)
  for s, b in itertools.product(range(20), range(3)):
    at = np.argmin(
      np.abs(log_q[:, b] - drawn.log_q[s, b]) + np.abs(known[:, b] - drawn.log_weights[s, b])
    )
    np.testing.assert_allclose(drawn.log_weights[s, b], known[at, b], rtol=1e-4)
    np.testing.assert_allclose(drawn.log_q[s, b], log_q[at, b], rtol=1e-4)


def test_relaxed_latents_become_categorical_as_they_cool(case, enumerated):
  """Near temperature 0 the decoder reads rows of the codebook, drawn by q."""
  model, params, codebooks, images, _ = case
  joint, log_q = enumerated
  cold = lambda key: categorical_vae.relaxed_elbo(
    model, params, codebooks, images, jax.random.split(key, 3), 1e-4
  )
  terms = jax.jit(jax.vmap(cold))(jax.random.split(jax.random.key(5), 2000))
  expected = jnp.sum(jnp.exp(log_q) * (joint + 4 * np.log(2)), axis=0)
  error = terms.log_prob.std(0) / 2000**0.5
  assert (np.abs(terms.log_prob.mean(0) - expected) < 4 * error).all()
  kl = jnp.sum(jnp.exp(log_q) * (log_q + 4 * np.log(2)), axis=0)
  np.testing.assert_allclose(terms.kl[0], kl, rtol=1e-4)


@pytest.mark.parametrize("how", ["vimco", "relaxed"])
def test_gradients_reach_everything(case, how):
  model, params, codebooks, images, keys = case

  def loss(params, codebooks):
    if how == "vimco":
      drawn = categorical_vae.draw(model, params, codebooks, images, keys, 4)
      return -losses.vimco(*drawn).sum()
    terms = categorical_vae.relaxed_elbo(model, params, codebooks, images, keys, 0.5)
    return (terms.kl - terms.log_prob).sum()

  gradients = jax.grad(loss, argnums=(0, 1))(params, codebooks)
  for path, g in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.abs(g).max() > 0, jax.tree_util.keystr(path)


def test_it_is_a_discrete_autoencoder(case):
  model, params, codebooks, images, _ = case
  out = discrete.forward(model, params, codebooks, images)
  (codes,) = discrete.encode(model, params, codebooks, images)
  assert codes.shape[1:] == model.map_shapes(4, 4)[0] and codes.dtype == jnp.int32
  np.testing.assert_array_equal(codes, jnp.argmax(out.z[0], axis=-1))
  decoded = discrete.decode(model, params, codebooks, (codes,))
  np.testing.assert_allclose(decoded, out.reconstruction, rtol=1e-5, atol=1e-5)
