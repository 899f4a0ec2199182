"""Tokenizers of images: the VQ-VAE of 2017, of one level, and VQ-VAE-2, of several."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from train.codes.tokenizer import Codebook, Coder, TokenizerStage
from train.fields import field
from train.images import sheets
from vqlab.autoencoders import vqvae, vqvae2

__all__ = ["Codebook", "VQVAE2Stage", "VQVAEStage"]


@dataclasses.dataclass(frozen=True)
class _ImageTokenizer(TokenizerStage):
  """A tokenizer of images; a subclass gives its `network`."""

  def network(self, **common: Any) -> nn.Module:
    raise NotImplementedError

  def coder(self, about: dict[str, Any]) -> Coder:
    height, width, channels = shape = tuple(about["image_shape"])
    model = self.network(
      image_channels=channels,
      channels=self.channels,
      residual_channels=self.residual_channels,
      num_residual_blocks=self.num_residual_blocks,
      code_dim=self.codebook.dim,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )
    return Coder(
      model=model,
      shapes=model.map_shapes(height, width),
      num_codes=self.codebook.num_codes,
      spec={
        "image": jax.ShapeDtypeStruct(shape, np.uint8),
        "label": jax.ShapeDtypeStruct((), np.int32),
      },
      blank=jnp.zeros((1, *shape), jnp.dtype(self.param_dtype)),
      inputs=lambda batch: sheets.from_bytes(batch["image"], self.param_dtype),
      outputs=sheets.to_bytes,
      show=lambda name, *sets, columns: {f"{name}.png": sheets.rows(*sets, columns=columns)},
      columns=16 if height <= 64 else 8,
    )


@dataclasses.dataclass(frozen=True)
class VQVAEStage(_ImageTokenizer):
  """A VQ-VAE; the defaults are the paper's (arXiv 1711.00937) but for the codebook's EMA."""

  channels: int = field(256, least=1)
  """Width of the convolutions."""
  residual_channels: int = field(256, least=1)
  """Width inside the residual blocks."""
  num_downsamples: int = field(2, least=1, most=16)
  """Strided convolutions; each halves height and width."""
  codes_per_position: int = field(1, least=1)
  """Codes at each position of the latent map."""

  def network(self, **common: Any) -> vqvae.VQVAE:
    return vqvae.VQVAE(
      num_downsamples=self.num_downsamples, codes_per_position=self.codes_per_position, **common
    )


@dataclasses.dataclass(frozen=True)
class VQVAE2Stage(_ImageTokenizer):
  """A hierarchy of code maps; the defaults are the paper's (arXiv 1906.00446) for ImageNet."""

  downsamples: tuple[int, ...] = field((1, 2), least=1, most=16)
  """One number a level, top first: how often it halves the map of the level below, or the image."""

  def network(self, **common: Any) -> vqvae2.VQVAE2:
    return vqvae2.VQVAE2(downsamples=self.downsamples, **common)
