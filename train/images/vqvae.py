"""Tokenizers of images: the VQ-VAE of 2017, of one level, and VQ-VAE-2, of several."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from train.codes.tokenizer import Codebook, Coder, Fidelity, Tokenizer, TokenizerStage
from train.fields import field
from train.images import sheets
from train.task import Batch
from vqlab import metrics
from vqlab.autoencoders import vqvae, vqvae2
from vqlab.autoencoders.discrete import squared_error

__all__ = ["Codebook", "VQVAE2Stage", "VQVAEStage"]


@dataclasses.dataclass(frozen=True)
class _ImageTokenizer(TokenizerStage):
  """A tokenizer of images; a subclass gives its `network`."""

  channels: int = field(128, least=1)
  """Width of the convolutions."""
  residual_channels: int = field(64, least=1)
  """Width inside the residual blocks."""
  num_residual_blocks: int = field(2, least=0)
  data_variance: float = field(0.0, least=0)
  """Divides the squared error; 0: the variance of the first training examples, at most 1,024."""

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
    show = lambda name, *sets, columns: {f"{name}.png": sheets.rows(*sets, columns=columns)}
    columns = 16 if height <= 64 else 8

    def error_sums(reconstruction: jax.Array, x: jax.Array, batch: Batch) -> metrics.Total:
      return metrics.squared_error(jnp.clip(reconstruction, -0.5, 0.5), x, mask=batch["mask"])

    def report(trained: Tokenizer, x: jax.Array, codes: tuple[jax.Array, ...]) -> dict[str, Any]:
      """Originals over what the top alone says, the first two levels, ..., all of them."""
      decode = jax.jit(functools.partial(vqvae.decode, model))
      copies = [decode(*trained, codes[: l + 1]) for l in range(len(codes))]
      return show("reconstructions", *map(sheets.to_bytes, (x, *copies)), columns=columns)

    return Coder(
      model=model,
      shapes=model.map_shapes(height, width),
      num_codes=self.codebook.num_codes,
      spec={
        "image": jax.ShapeDtypeStruct(shape, np.uint8),
        "label": jax.ShapeDtypeStruct((), np.int32),
      },
      blank=jnp.zeros((1, *shape), jnp.dtype(self.param_dtype)),
      dims=height * width * channels,
      inputs=lambda batch: sheets.from_bytes(batch["image"], self.param_dtype),
      fidelity=Fidelity(
        "mse",
        squared_error,
        self.data_variance or about["variance"],
        error_sums,
        lambda sums: {"mse": metrics.mean(sums), "psnr": metrics.psnr(sums)},
      ),
      report=report,
      columns=columns,
      outputs=sheets.to_bytes,
      show=show,
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
