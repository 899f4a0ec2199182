"""The Gaussian VAE: its bound, by one sample and by many; what its draws depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from vqlab import losses
from vqlab.autoencoders import vae
from vqlab.autoencoders.vqvae import VQVAE

LIKELIHOOD = losses.DiscretizedLogistic()


def small(**fields):
  sizes = {"channels": 4, "residual_channels": 4, "num_residual_blocks": 1, "num_downsamples": 1}
  outputs = LIKELIHOOD.outputs(1)
  return vae.VAE(
    VQVAE(image_channels=1, output_channels=outputs, **sizes | {"code_dim": 2} | fields), LIKELIHOOD
  )


@pytest.fixture(scope="module")
def case():
  model = small()
  images = jax.random.randint(jax.random.key(0), (3, 4, 4, 1), 0, 256).astype(jnp.uint8)
  params = model.init(jax.random.key(1), images)["params"]
  params = jax.tree.map(lambda x: 3 * x, params)  # so that posteriors are no standard normals
  return model, params, images, jax.random.split(jax.random.key(2), 3)


def test_weights_are_p_over_q(case):
  """One sample's log-weight, with SciPy's normals of the same draws."""
  model, params, images, keys = case
  q = model.apply({"params": params}, images, method="encode")
  found = vae.log_weights(model, params, images, keys, 2)
  for s in range(2):
    draw = lambda key, s=s: jax.random.normal(jax.random.fold_in(key, s), q.mu.shape[1:])
    z = q.sample(jax.vmap(draw)(keys))
    log_px = LIKELIHOOD.log_prob(model.apply({"params": params}, z, method="decode"), images)
    latents = norm.logpdf(z) - norm.logpdf(z, q.mu, np.exp(q.logvar / 2))
    np.testing.assert_allclose(found[s], log_px + latents.reshape(3, -1).sum(1), rtol=1e-4)


def test_both_ways_to_the_elbo_agree_and_more_samples_are_tighter(case):
  model, params, images, keys = case
  weights = vae.log_weights(model, params, images, keys, 4000)
  many = jax.vmap(lambda key: vae.elbo(model, params, images, jax.random.split(key, 3)))(
    jax.random.split(jax.random.key(3), 2000)
  )
  assert float(many.kl.min()) > 0.1
  difference = weights.mean(0) - (many.log_prob.mean(0) - many.kl[0])
  error = np.hypot(weights.std(0) / 4000**0.5, many.log_prob.std(0) / 2000**0.5)
  assert (np.abs(difference) < 4 * error).all()
  groups = losses.multisample_bound(weights.reshape(50, 80, 3))  # 80 bounds of 50 samples
  assert (groups.mean(0) > weights.mean(0)).all()


def test_a_draw_is_of_its_key_alone(case):
  """Not of the batch: the same images in other company."""
  model, params, images, keys = case
  whole = vae.log_weights(model, params, images, keys, 3)
  np.testing.assert_allclose(
    vae.log_weights(model, params, images[1:2], keys[1:2], 3), whole[:, 1:2], rtol=1e-5
  )


def test_gradients_reach_everything(case):
  model, params, images, keys = case

  def loss(params):
    terms = vae.elbo(model, params, images, keys)
    return (terms.kl - terms.log_prob).sum()

  for path, g in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(params)):
    assert np.abs(g).max() > 0, jax.tree_util.keystr(path)


def test_several_latents_a_position():
  model, images = small(codes_per_position=3), jnp.zeros((2, 4, 4, 1), jnp.uint8)
  params = model.init(jax.random.key(0), images)["params"]
  q = jax.eval_shape(lambda p: model.apply({"params": p}, images, method="encode"), params)
  assert q.mu.shape == q.logvar.shape == (2, 2, 2, 3, 1)


def test_bad_input(case):
  model, params, images, keys = case
  with pytest.raises(ValueError, match="images are float32; give bytes"):
    vae.elbo(model, params, images.astype(jnp.float32), keys)
  with pytest.raises(ValueError, match="code_dim is 3; it must be even"):
    small(code_dim=3).init(jax.random.key(0), images)
