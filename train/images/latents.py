"""What the VAEs of images share: their networks, and bounds in bits a dimension.

They are the baselines of the VQ-VAE paper (arXiv 1711.00937, section 4.1), on its own networks.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from train.config import TrainingStage
from train.fields import field
from train.images import likelihood
from train.images.likelihood import Name
from train.task import Batch
from vqlab import losses, metrics
from vqlab.autoencoders.vqvae import VQVAE


@dataclasses.dataclass(frozen=True)
class LatentStage(TrainingStage):
  """An encoder and a decoder; the defaults are the VQ-VAE paper's."""

  channels: int = field(256, least=1)
  """Width of the convolutions."""
  residual_channels: int = field(256, least=1)
  """Width inside the residual blocks."""
  num_residual_blocks: int = field(2, least=0)
  num_downsamples: int = field(2, least=1, most=16)
  """Strided convolutions; each halves height and width."""
  codes_per_position: int = field(1, least=1)
  """Latents at each position of the latent map."""
  likelihood: Name = field("logistic")
  """Each byte's distribution: a discretised logistic, or 256 logits."""
  num_samples: int = field(50, least=2)
  """Samples of the latents by which the bound is evaluated; VIMCO is trained by as many."""

  def networks(self, about: dict[str, Any], features: int) -> VQVAE:
    """With so many features of the encoder's a latent."""
    height, width, channels = about["image_shape"]
    networks = VQVAE(
      image_channels=channels,
      channels=self.channels,
      residual_channels=self.residual_channels,
      num_residual_blocks=self.num_residual_blocks,
      num_downsamples=self.num_downsamples,
      code_dim=features,
      codes_per_position=self.codes_per_position,
      output_channels=likelihood.of(self.likelihood).outputs(channels),
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )
    networks.map_shapes(height, width)  # says what does not divide
    return networks


class Sums(NamedTuple):
  """What an evaluation adds up."""

  elbo: metrics.Total  # log p(x, z) - log q(z | x) of every sample, nats
  bound: metrics.Total  # that of all of an image's samples together
  error: metrics.Total  # squared, of reconstructions from the most probable latents


def sums_of(log_weights: jax.Array, copies: jax.Array, batch: Batch) -> Sums:
  """Of log-weights [S, B] and reconstructions in [0, 1]."""
  mask, images = batch["mask"], batch["image"].astype(copies.dtype) / 255
  return Sums(
    metrics.total(jnp.mean(log_weights, axis=0), mask=mask),
    metrics.total(losses.multisample_bound(log_weights), mask=mask),
    metrics.squared_error(copies, images, mask=mask),
  )


def figures_of(sums: Sums, dims: int) -> dict[str, float]:
  """Both bounds in bits a dimension, and the reconstructions' error."""
  bits = {"image_bits_elbo": sums.elbo, "image_bits_bound": sums.bound}
  values = {name: likelihood.bits(-metrics.mean(total), dims) for name, total in bits.items()}
  values |= likelihood.error_figures(sums.error)
  return {name: float(value) for name, value in values.items()}


def eval_keys(batch: Batch) -> jax.Array:
  """A key an image of an evaluation, always the same: [B]."""
  key = jax.random.key(0)
  return jax.vmap(lambda index: jax.random.fold_in(key, index))(batch["index"])
