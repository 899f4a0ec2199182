"""The functions of discrete autoencoders serve any module of their shape: here one of sound."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqlab import quantize
from vqlab.autoencoders import discrete


class Waves(nn.Module):
  """[B, T, 1] -> two levels of [B, T / 8] and [B, T / 2]; the bottom adds to the top."""

  num_levels = 2

  def setup(self) -> None:
    self.down, self.up = nn.Dense(3), nn.Dense(2)

  def map_shapes(self, length: int) -> tuple[tuple[int, ...], ...]:
    return (length // 8,), (length // 2,)

  def __call__(self, x, codebooks, *, estimator=quantize.straight_through):
    z, quantized = self.quantize(x, codebooks, estimator=estimator)
    return discrete.Output(self.decode([q.vectors for q in quantized]), z, quantized)

  def quantize(self, x, codebooks, *, estimator=quantize.straight_through):
    fine = self.down(x.reshape(x.shape[0], -1, 2))
    coarse = fine.reshape(x.shape[0], -1, 4, 3).mean(2)
    pairs = zip((coarse, fine), codebooks, strict=True)
    return (coarse, fine), tuple(quantize.quantize(z, e, estimator=estimator) for z, e in pairs)

  def decode(self, vectors):
    top, bottom = vectors
    return self.up(jnp.repeat(top, 4, axis=1) + bottom).reshape(len(top), -1, 1)


def test_a_module_of_another_kind_of_data():
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (5, 16, 1))
  codebooks = [jax.random.normal(k, (7, 3)) for k in keys[1:]]
  model = Waves()
  params = model.init(jax.random.key(1), x, codebooks)["params"]
  out = discrete.forward(model, params, codebooks, x)
  codes = discrete.encode(model, params, codebooks, x)
  assert tuple(c.shape[1:] for c in codes) == model.map_shapes(16)
  for c, q in zip(codes, out.quantized, strict=True):
    np.testing.assert_array_equal(c, q.indices)
  decoded = discrete.decode(model, params, codebooks, codes)
  np.testing.assert_allclose(decoded, out.reconstruction, atol=1e-6)
  flat = jnp.broadcast_to(codebooks[1].mean(0), (7, 3))  # a bottom that says nothing
  alone = discrete.decode(model, params, codebooks, codes[:1])
  expected = discrete.decode(model, params, [codebooks[0], flat], codes)
  np.testing.assert_allclose(alone, expected, atol=1e-6)
  terms = discrete.losses(out, x)
  error = np.square(np.asarray(out.reconstruction) - x).reshape(5, -1).mean(1)
  np.testing.assert_allclose(terms.reconstruction, error, rtol=1e-5)
  distances = [
    np.square(np.asarray(z) - q.codes).reshape(5, -1).mean(1)
    for z, q in zip(out.z, out.quantized, strict=True)
  ]
  np.testing.assert_allclose(terms.codebook, sum(distances), rtol=1e-5)
  np.testing.assert_array_equal(terms.commitment, terms.codebook)

  def estimated(z, codes):  # an estimator reaches the module
    return jnp.zeros_like(codes)

  dull = discrete.forward(model, params, codebooks, x, estimator=estimated)
  np.testing.assert_allclose(dull.reconstruction, np.zeros_like(x), atol=1e-6)
