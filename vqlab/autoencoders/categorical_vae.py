"""VAE of bytes with categorical latents, trained by VIMCO or through Gumbel-softmax.

    q(z | x) = prod_n Cat(logits_n(x))     p(z) = prod_n 1 / K     p(x | z) by `vqlab.losses`

The discrete baselines of the VQ-VAE paper (van den Oord et al. 2017, arXiv 1711.00937, section
4.1), on its networks, whose code_dim is K logits a latent; the decoder reads rows of a codebook, as
the VQ-VAE's does, and with K = 2 latents are Bernoulli. The functions are those of all discrete
autoencoders (discrete.py), where the codes are the most probable ones; and two ways to train it:

    likelihood = DiscretizedLogistic()
    networks = VQVAE(code_dim=512, codes_per_position=10, output_channels=likelihood.outputs(3))
    model, codebooks = CategoricalVAE(networks, likelihood), (codebook,)          # [K, D], any D
    params = model.init(key, images, codebooks)["params"]

    drawn = draw(model, params, codebooks, images, keys, num_samples=50)
    loss = -vimco(drawn.log_weights, drawn.log_q)          # Mnih and Rezende 2016, 1602.06725
    terms = relaxed_elbo(model, params, codebooks, images, keys, temperature=0.5)
    loss = terms.kl - terms.log_prob                       # Jang et al. 2017, 1611.01144

Shapes: B images, S samples, h w positions, G latents a position, K values a latent.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from vqlab import quantize
from vqlab.autoencoders.discrete import Output
from vqlab.autoencoders.vae import Elbo, centred, log_probs_of_samples
from vqlab.autoencoders.vqvae import VQVAE
from vqlab.losses import ByteLikelihood, DiscretizedLogistic
from vqlab.nn.dtypes import at_least_float32


class Drawn(NamedTuple):
  """S samples of the latents of each image, nats."""

  log_weights: jax.Array  # [S, B]  log p(x, z_s) - log q(z_s | x)
  log_q: jax.Array  # [S, B]  log q(z_s | x)


class CategoricalVAE(nn.Module):
  """Encoder and decoder.

  Attributes:
    networks: with code_dim = K and output_channels as the likelihood needs them.
    likelihood: of bytes.
  """

  networks: VQVAE
  likelihood: ByteLikelihood = DiscretizedLogistic()

  @property
  def num_levels(self) -> int:
    return 1

  def map_shapes(self, height: int, width: int) -> tuple[tuple[int, ...], ...]:
    """As the networks' own: ((h, w),), or ((h, w, G),)."""
    return self.networks.map_shapes(height, width)

  def __call__(
    self, images: jax.Array, codebooks: Sequence[jax.Array], *, estimator: Any = None
  ) -> Output:
    """What is decoded of the most probable codes; no gradient reaches the encoder by it."""
    z, quantized = self.quantize(images, codebooks)
    return Output(self.decode([q.vectors for q in quantized]), z, quantized)

  def quantize(
    self, images: jax.Array, codebooks: Sequence[jax.Array], *, estimator: Any = None
  ) -> tuple[tuple[jax.Array, ...], tuple[quantize.Quantized, ...]]:
    """The logits, and the most probable codes."""
    (codebook,) = codebooks
    logits = self.logits(images)
    indices = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    codes = quantize.lookup(codebook, indices)
    return (logits,), (quantize.Quantized(codes, codes, indices),)

  def logits(self, images: jax.Array) -> jax.Array:
    """Bytes [B, H, W, C] -> log q(z_n = k | x), [B, h, w, K] or [B, h, w, G, K], normalized."""
    logits = self.networks.encoder(centred(images, self.networks.dtype))
    return jax.nn.log_softmax(logits.astype(at_least_float32(logits.dtype)))

  def decode(self, vectors: Sequence[jax.Array]) -> jax.Array:
    """Rows of the codebook, or their mixtures -> [B, H, W, outputs], for the likelihood."""
    return self.networks.decode(vectors)


def draw(
  model: CategoricalVAE,
  params: dict,
  codebooks: Sequence[jax.Array],
  images: jax.Array,
  keys: jax.Array,
  num_samples: int,
) -> Drawn:
  """S samples an image, and what they weigh: see `multisample_bound` and `vimco`.

  Args:
    codebooks: one, [K, D].
    images: bytes [B, H, W, C].
    keys: [B], a random key an image.
  """
  log_p = model.apply({"params": params}, images, method="logits")
  each = lambda key, logits: jax.random.categorical(
    key, logits, shape=(num_samples, *logits.shape[:-1])
  )
  z = jax.vmap(each, out_axes=1)(keys, jax.lax.stop_gradient(log_p))  # [S, B, ...]
  found = jnp.take_along_axis(log_p[None], z[..., None], axis=-1)
  log_q = found.reshape(*z.shape[:2], -1).sum(-1)
  latents, values = log_p[0].size // log_p.shape[-1], log_p.shape[-1]
  log_prior = -latents * math.log(values)
  log_px = log_probs_of_samples(
    lambda z: model.apply({"params": params}, [quantize.lookup(codebooks[0], z)], method="decode"),
    model.likelihood, z, images,
  )  # fmt: skip
  return Drawn(log_px + log_prior - log_q, log_q)


def relaxed_elbo(
  model: CategoricalVAE,
  params: dict,
  codebooks: Sequence[jax.Array],
  images: jax.Array,
  keys: jax.Array,
  temperature: ArrayLike,
) -> Elbo:
  """The bound with one sample of relaxed latents, softmax((log q + gumbel) / temperature).

  The decoder reads mixtures of the codebook's rows, by which gradients reach the encoder; the KL is
  that of the categorical latents. No bound of anything until the temperature is 0: `draw` gives
  figures. Arguments as `draw`'s.
  """
  log_p = model.apply({"params": params}, images, method="logits")
  noise = jax.vmap(lambda key: jax.random.gumbel(key, log_p.shape[1:], log_p.dtype))(keys)
  parts = jax.nn.softmax((log_p + noise) / jnp.asarray(temperature, log_p.dtype))
  vectors = parts @ codebooks[0].astype(parts.dtype)
  decoded = model.apply({"params": params}, [vectors], method="decode")
  kl = jnp.sum(jnp.exp(log_p) * log_p, axis=-1) + math.log(log_p.shape[-1])
  return Elbo(model.likelihood.log_prob(decoded, images), kl.reshape(len(kl), -1).sum(1))
