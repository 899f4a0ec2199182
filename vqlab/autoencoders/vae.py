"""Gaussian VAE of bytes (Kingma and Welling 2014, arXiv 1312.6114), on the networks of a VQ-VAE.

    q(z | x) = N(mu(x), diag exp(logvar(x)))     p(z) = N(0, 1)     p(x | z) by `vqlab.losses`
    log p(x) >= E_q[log p(x | z)] - KL(q || p)

The continuous baseline of the VQ-VAE paper (van den Oord et al. 2017, arXiv 1711.00937, section
4.1): the same encoder and decoder, which here are the same module, whose code_dim is two features a
latent dimension.

    likelihood = DiscretizedLogistic()
    networks = VQVAE(code_dim=2, codes_per_position=10, output_channels=likelihood.outputs(3))
    model = VAE(networks, likelihood)
    params = model.init(key, images)["params"]
    terms = elbo(model, params, images, keys)              # terms.log_prob - terms.kl: [B], nats
    bound = multisample_bound(log_weights(model, params, images, keys, 50))      # [B], tighter

Shapes: B images, S samples, h w positions, G latents a position, d dimensions a latent.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqlab.autoencoders.evidence import Normal
from vqlab.autoencoders.vqvae import VQVAE
from vqlab.losses import ByteLikelihood, DiscretizedLogistic, normal_kl
from vqlab.nn.dtypes import at_least_float32


class Elbo(NamedTuple):
  """The two terms of the evidence lower bound, nats an image: it is the first less the second."""

  log_prob: jax.Array  # [B]  log p(x | z), of one sample
  kl: jax.Array  # [B]  KL(q(z | x) || p(z))


class VAE(nn.Module):
  """Encoder and decoder.

  Attributes:
    networks: with code_dim = 2 d and output_channels as the likelihood needs them.
    likelihood: of bytes.
  """

  networks: VQVAE
  likelihood: ByteLikelihood = DiscretizedLogistic()

  def __call__(self, images: jax.Array) -> jax.Array:
    """What is decoded of the most probable latents."""
    return self.decode(self.encode(images).mu)

  def encode(self, images: jax.Array) -> Normal:
    """Bytes [B, H, W, C] -> q(z | x), of [B, h, w, d] or [B, h, w, G, d], float32 at least."""
    if self.networks.code_dim % 2:
      raise ValueError(f"VAE: networks.code_dim is {self.networks.code_dim}; it must be even")
    features = self.networks.encoder(centred(images, self.networks.dtype))
    return Normal(*jnp.split(features.astype(at_least_float32(features.dtype)), 2, axis=-1))

  def decode(self, z: jax.Array) -> jax.Array:
    """Latents -> [B, H, W, outputs], which the likelihood takes."""
    return self.networks.decode([z])


def elbo(model: VAE, params: dict, images: jax.Array, keys: jax.Array) -> Elbo:
  """The bound of bytes [B, H, W, C] by one sample each, its KL in closed form.

  Args:
    keys: [B], a random key an image.
  """
  q = model.apply({"params": params}, images, method="encode")
  z = q.sample(_noise(keys, q.mu))
  decoded = model.apply({"params": params}, z, method="decode")
  kl = normal_kl(*q)
  return Elbo(model.likelihood.log_prob(decoded, images), kl.reshape(len(kl), -1).sum(1))


def log_weights(
  model: VAE, params: dict, images: jax.Array, keys: jax.Array, num_samples: int
) -> jax.Array:
  """log p(x, z_s) - log q(z_s | x) of S samples an image, [S, B]: see `multisample_bound`."""
  q = model.apply({"params": params}, images, method="encode")
  per_sample = lambda s: _noise(jax.vmap(jax.random.fold_in, (0, None))(keys, s), q.mu)
  noise = jax.vmap(per_sample)(jnp.arange(num_samples, dtype=jnp.uint32))  # [S, B, ...]
  z = q.sample(noise)
  # Of log p(z) - log q(z | x) both normals' constants cancel.
  of_latents = 0.5 * (jnp.square(noise) - jnp.square(z) + q.logvar)
  of_latents = of_latents.reshape(num_samples, len(images), -1).sum(-1)
  return of_latents + log_probs_of_samples(
    lambda z: model.apply({"params": params}, z, method="decode"), model.likelihood, z, images
  )


def log_probs_of_samples(
  decode: Callable[[jax.Array], jax.Array], likelihood: ByteLikelihood, z: jax.Array, x: jax.Array
) -> jax.Array:
  """log p(x | z_s) of latents [S, B, ...] and bytes [B, ...]: [S, B], all decoded as one batch."""
  decoded = decode(z.reshape(-1, *z.shape[2:]))
  repeated = jnp.broadcast_to(x, (len(z), *x.shape)).reshape(-1, *x.shape[1:])
  return likelihood.log_prob(decoded, repeated).reshape(len(z), len(x))


def centred(images: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
  """Bytes as what a network reads, in [-1/2, 1/2]."""
  if not jnp.issubdtype(images.dtype, jnp.integer):
    raise ValueError(f"images are {images.dtype}; give bytes, integers from 0 to 255")
  return images.astype(dtype) / 255 - 0.5


def _noise(keys: jax.Array, like: jax.Array) -> jax.Array:
  return jax.vmap(lambda key: jax.random.normal(key, like.shape[1:], like.dtype))(keys)
