"""The VQ-VAE over codes: what its latents know, that they are used, and that drawing agrees."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vqlab import priors, quantize
from vqlab.autoencoders import discrete, vqvae_codes
from vqlab.autoencoders.vqvae_codes import CodesVQVAE

MODEL = CodesVQVAE(
  num_codes=5, map_shape=(5, 6), num_latents=3, channels=8, residual_channels=8,
  num_residual_blocks=1, code_dim=4, features=6, decoder_channels=8, num_layers=1, kernel_size=3,
  hidden=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def case():
  codes = jax.random.randint(jax.random.key(0), (3, 5, 6), 0, 5, jnp.int32)
  keys = jax.random.split(jax.random.key(1), 3)
  codebooks = tuple(jax.random.normal(key, (7, 4)) for key in keys)
  return MODEL.init(jax.random.key(2), codes, codebooks)["params"], codebooks, codes


def test_three_latents_and_the_logits_of_every_code(case):
  params, codebooks, codes = case
  out = discrete.forward(MODEL, params, codebooks, codes)
  assert out.reconstruction.shape == (3, 5, 6, 5) and MODEL.map_shapes() == ((), (), ())
  latents = discrete.encode(MODEL, params, codebooks, codes)
  assert [x.shape for x in latents] == [(3,)] * 3
  for found, q in zip(latents, out.quantized, strict=True):
    np.testing.assert_array_equal(found, q.indices)
  terms = discrete.losses(out, codes, error=vqvae_codes.nats)
  expected = -jnp.take_along_axis(jax.nn.log_softmax(out.reconstruction), codes[..., None], -1)
  np.testing.assert_allclose(terms.reconstruction, expected.reshape(3, -1).mean(1), rtol=1e-5)


def test_the_decoder_knows_the_map_by_the_latents_alone(case):
  """Of the map itself it sees what is before a position; of the latents all it is told."""
  params, codebooks, codes = case
  latents = discrete.encode(MODEL, params, codebooks, codes)
  vectors = [book[l] for book, l in zip(codebooks, latents, strict=True)]
  cond = MODEL.apply({"params": params}, vectors, method="conditions")
  decoder = MODEL.decoder()
  logits = decoder.apply({"params": params["pixelcnn"]}, codes, cond)
  out = discrete.forward(MODEL, params, codebooks, codes)
  np.testing.assert_allclose(logits, out.reconstruction, rtol=1e-5, atol=1e-5)
  changed = decoder.apply({"params": params["pixelcnn"]}, codes.at[:, 2, 3].add(1) % 5, cond)
  differs = np.abs(changed - logits).max((0, 3)) > 0
  assert not differs.reshape(-1)[: 2 * 6 + 4].any() and differs[2, 4]


def test_gradients_reach_everything(case):
  params, codebooks, codes = case

  def loss(params, codebooks):
    out = discrete.forward(MODEL, params, codebooks, codes)
    terms = discrete.losses(out, codes, error=vqvae_codes.nats)
    return jnp.sum(terms.reconstruction + terms.commitment + terms.codebook)

  gradients = jax.grad(loss, argnums=(0, 1))(params, codebooks)
  for path, g in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.abs(g).max() > 0, jax.tree_util.keystr(path)


def test_drawn_codes_follow_the_latents(case):
  params, codebooks, codes = case
  latents = discrete.encode(MODEL, params, codebooks, codes)
  draw = lambda latents, **how: vqvae_codes.draw(
    jax.random.key(4), MODEL, params, codebooks, latents, **how
  )
  drawn = draw(latents)
  assert drawn.shape == codes.shape and int(drawn.min()) >= 0 and int(drawn.max()) < 5
  np.testing.assert_array_equal(draw(tuple(l[1:] for l in latents), first_index=1), drawn[1:])
  cond = MODEL.apply(
    {"params": params}, [b[l] for b, l in zip(codebooks, latents, strict=True)], method="conditions"
  )
  naive = priors.sample(
    jax.random.key(4), MODEL.decoder(), params["pixelcnn"], codes.shape, cond=cond, method="naive"
  )
  np.testing.assert_array_equal(naive, drawn)


def test_latents_are_used():
  """Maps of a single random code each: only the latents can tell which before the first code."""
  codes = jnp.broadcast_to(jnp.arange(40, dtype=jnp.int32)[:, None, None] % 5, (40, 5, 6))
  states = tuple(quantize.init(key, 7, 4) for key in jax.random.split(jax.random.key(1), 3))
  update = quantize.chain(quantize.ema(0.9), quantize.revive(0.1))
  params = MODEL.init(jax.random.key(2), codes, [s.codebook for s in states])["params"]
  optimizer = optax.adam(1e-2)

  def loss(params, states):
    out = discrete.forward(MODEL, params, [s.codebook for s in states], codes)
    terms = discrete.losses(out, codes, error=vqvae_codes.nats)
    first = vqvae_codes.nats(out.reconstruction, codes)[:, 0, 0].mean()
    return jnp.mean(terms.reconstruction + 0.25 * terms.commitment), (out, first)

  @jax.jit
  def step(params, states, opt_state, key):
    grads, (out, first) = jax.grad(loss, has_aux=True)(params, states)
    updates, opt_state = optimizer.update(grads, opt_state)
    stats = [
      quantize.assignment_stats(z, q.indices, num_codes=7, key=key, num_candidates=7)
      for z, q in zip(out.z, out.quantized, strict=True)
    ]
    states = tuple(update(s, x, key) for s, x in zip(states, stats, strict=True))
    return optax.apply_updates(params, updates), states, opt_state, first

  opt_state = optimizer.init(params)
  with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
    for key in jax.random.split(jax.random.key(3), 150):
      params, states, opt_state, first = step(params, states, opt_state, key)
  assert first < 0.2 * np.log(5)


def test_bad_input(case):
  params, codebooks, codes = case
  with pytest.raises(ValueError, match=r"codes must be int\[B, 5, 6\]; found int32\[3, 5, 5\]"):
    discrete.encode(MODEL, params, codebooks, codes[:, :, :5])
  with pytest.raises(ValueError, match="2 codebooks for 3 levels"):
    discrete.encode(MODEL, params, codebooks[:2], codes)
