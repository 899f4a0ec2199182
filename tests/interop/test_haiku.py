"""Haiku's vector quantizers and VQ-VAE example: converted, they go on as they would have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import interop, quantize
from vqlab.autoencoders import vqvae2

hk = pytest.importorskip("haiku", reason="peer dm-haiku not installed")

K, D = 32, 8


@pytest.fixture(autouse=True)
def implicit_promotion():
  with jax.numpy_dtype_promotion("standard"):  # Haiku relies on it
    yield


def drifting(t):
  """Six clusters around the origin that move a little."""
  centres = jax.random.normal(jax.random.key(99), (6, D))
  noise = 0.3 * jax.random.normal(jax.random.key(t), (256, D))
  return centres[jnp.arange(256) % 6] + noise + 0.3 * jnp.sin(0.3 * t + jnp.arange(D))


def quantizer(cls, *args):
  return hk.transform_with_state(lambda z, train: cls(D, K, 0.25, *args)(z, is_training=train))


def test_training_goes_on_after_conversion():
  model = quantizer(hk.nets.VectorQuantizerEMA, 0.99)
  params, theirs = model.init(jax.random.key(0), drifting(0), True)
  apply = jax.jit(model.apply, static_argnums=4)
  for t in range(10):
    _, theirs = apply(params, theirs, None, drifting(t), True)
  ours = interop.from_haiku("vector_quantizer", params, theirs)
  assert isinstance(ours, quantize.CodebookState) and ours.step == 10
  update = jax.jit(quantize.ema(0.99, unused="zero"))
  for t in range(10, 20):
    z = drifting(t)
    out, theirs = apply(params, theirs, None, z, True)
    indices = quantize.assign(z, ours.codebook)
    np.testing.assert_array_equal(indices, out["encoding_indices"])
    ours = update(ours, quantize.assignment_stats(z, indices, num_codes=K))
    embeddings = theirs["vector_quantizer_ema"]["embeddings"].T
    np.testing.assert_allclose(ours.codebook, embeddings, atol=1e-6)
  assert 3 < len(np.unique(indices)) < K and ours.step == 20


def test_codebook_trained_by_gradients():
  model = quantizer(hk.nets.VectorQuantizer)
  params, state = model.init(jax.random.key(0), drifting(0), True)
  ours = interop.from_haiku("vector_quantizer", params, state)
  out, _ = model.apply(params, state, None, drifting(1), False)
  found = quantize.quantize(drifting(1), ours.codebook)
  np.testing.assert_array_equal(found.indices, out["encoding_indices"])
  np.testing.assert_allclose(found.vectors, out["quantize"], atol=1e-6)
  assert ours.step == 0 and not ours.counts.any()


class Stack(hk.Module):
  def __init__(self, width, inner, blocks):
    super().__init__(name="residual_stack")
    self.layers = [
      (hk.Conv2D(inner, 3, name=f"res3x3_{i}"), hk.Conv2D(width, 1, name=f"res1x1_{i}"))
      for i in range(blocks)
    ]

  def __call__(self, x):
    for three, one in self.layers:
      x = x + one(jax.nn.relu(three(jax.nn.relu(x))))
    return jax.nn.relu(x)


class Encoder(hk.Module):
  def __init__(self, width, inner, blocks):
    super().__init__(name="encoder")
    self.convs = [
      hk.Conv2D(width // 2, 4, 2, name="enc_1"),
      hk.Conv2D(width, 4, 2, name="enc_2"),
      hk.Conv2D(width, 3, name="enc_3"),
    ]
    self.stack = Stack(width, inner, blocks)

  def __call__(self, x):
    one, two, three = self.convs
    return self.stack(three(jax.nn.relu(two(jax.nn.relu(one(x))))))


class Decoder(hk.Module):
  def __init__(self, width, inner, blocks):
    super().__init__(name="decoder")
    self.first = hk.Conv2D(width, 3, name="dec_1")
    self.stack = Stack(width, inner, blocks)
    self.ups = [
      hk.Conv2DTranspose(width // 2, 4, 2, name="dec_2"),
      hk.Conv2DTranspose(3, 4, 2, name="dec_3"),
    ]

  def __call__(self, x):
    one, two = self.ups
    return two(jax.nn.relu(one(self.stack(self.first(x)))))


@pytest.fixture(scope="module")
def example():
  """The example's network, 16 channels wide: images -> (reconstruction, indices)."""

  def forward(x):
    sizes = (16, 8, 2)
    encoder, decoder = Encoder(*sizes), Decoder(*sizes)
    to_vq = hk.Conv2D(D, 1, name="to_vq")
    vq = hk.nets.VectorQuantizerEMA(D, K, 0.25, 0.99, name="vqvae")
    out = vq(to_vq(encoder(x)), is_training=True)
    return decoder(out["quantize"]), out["encoding_indices"]

  with jax.numpy_dtype_promotion("standard"):
    model = hk.transform_with_state(forward)
    images = 4 * jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    shapes, averages = jax.eval_shape(model.init, jax.random.key(0), images)
    rng = np.random.default_rng(0)
    random = lambda x: np.float32(rng.normal(size=x.shape) / max(1, x.size / x.shape[-1]) ** 0.5)
    params = jax.tree.map(random, shapes)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), averages)
    state["vqvae"] = {"embeddings": random(averages["vqvae"]["embeddings"])}
    (wanted, indices), after = jax.jit(model.apply)(params, state, None, images)
  return params, state, after, images, wanted, indices


def test_the_whole_example(example):
  params, state, _, images, wanted, indices = example
  variables = interop.from_haiku("vqvae", params, state)
  model = vqvae2.VQVAE2(channels=16, residual_channels=8, downsamples=(2,), code_dim=D)
  books = [state.codebook for state in variables["codebooks"]]
  out = jax.jit(vqvae2.forward, static_argnums=0)(model, variables["params"], books, images)
  np.testing.assert_array_equal(out.quantized[0].indices, indices)
  assert len(np.unique(indices)) > 2
  np.testing.assert_allclose(out.reconstruction, wanted, atol=1e-4 * float(jnp.std(wanted)))
  empty = jax.eval_shape(model.init, jax.random.key(0), images, books)["params"]
  assert jax.tree.structure(variables["params"]) == jax.tree.structure(empty)


def test_what_does_not_fit_is_named(example):
  params, state, after, *_ = example

  def convert(params=params, state=state, name="vqvae"):
    return interop.from_haiku(name, params, state)

  without = {path: module for path, module in params.items() if "enc_2" not in path}
  with pytest.raises(ValueError, match=r"missing: enc_2\.w, enc_2\.b"):
    convert(without)
  with pytest.raises(ValueError, match=r"unexpected: extra\.w"):
    convert({**params, "extra": {"w": jnp.zeros(3)}})
  with pytest.raises(ValueError, match=r"two modules are called enc_2"):
    convert({**params, "other/~/enc_2": params["encoder/~/enc_2"]})
  with pytest.raises(ValueError, match=r"must hold 'embeddings'; found none"):
    convert(params, {}, "vector_quantizer")
  with pytest.raises(ValueError, match=r"'ema_dw.hidden' has shape \[32, 8\]; expected \[8, 32\]"):
    dw = after["vqvae/~/ema_dw"]
    turned = {**dw, "hidden": dw["hidden"].T}
    convert(params, {**after, "vqvae/~/ema_dw": turned}, "vector_quantizer")
  with pytest.raises(ValueError, match="the two counters are 1 and 9"):
    changed = {**after["vqvae/~/ema_dw"], "counter": jnp.int32(9)}
    convert(params, {**after, "vqvae/~/ema_dw": changed}, "vector_quantizer")
