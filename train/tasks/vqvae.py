"""The VQ-VAE of 2017 as a tokenizer of one level."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from train.config import Experiment, field
from train.data import Split
from train.task import Task
from train.tasks import tokenizer
from train.tasks.tokenizer import Codebook, Network, TokenizerStage
from vqlab.autoencoders import vqvae, vqvae2

__all__ = ["Codebook", "VQVAEStage", "make", "network"]


@dataclasses.dataclass(frozen=True)
class VQVAEStage(TokenizerStage):
  """A VQ-VAE; the defaults are the paper's (arXiv 1711.00937) but for the codebook's EMA."""

  channels: int = field(256, least=1)
  """Width of the convolutions."""
  residual_channels: int = field(256, least=1)
  """Width inside the residual blocks."""
  num_downsamples: int = field(2, least=1)
  """Strided convolutions; each halves height and width."""
  codes_per_position: int = field(1, least=1)
  """Codes at each position of the latent map."""


def network(stage: VQVAEStage, image_shape: tuple[int, int, int]) -> Network:
  """The network of a stage for images [H, W, C]."""
  *sides, channels = image_shape
  dtype = jnp.dtype(stage.param_dtype)
  model = vqvae.VQVAE(
    image_channels=channels,
    channels=stage.channels,
    residual_channels=stage.residual_channels,
    num_residual_blocks=stage.num_residual_blocks,
    num_downsamples=stage.num_downsamples,
    code_dim=stage.codebook.dim,
    codes_per_position=stage.codes_per_position,
    dtype=jnp.dtype(stage.dtype),
    param_dtype=dtype,
  )
  groups = (stage.codes_per_position,) if stage.codes_per_position > 1 else ()

  def forward(params, codebooks, images):
    out = vqvae.forward(model, params, codebooks[0], images)
    return vqvae2.Output(out.reconstruction, (out.z,), (out.quantized,)), vqvae.losses(out, images)

  return Network(
    model=model,
    shapes=((*(side // 2**stage.num_downsamples for side in sides), *groups),),
    num_codes=(stage.codebook.num_codes,),
    init=lambda key, codebooks: model.init(key, jnp.zeros((1, *image_shape), dtype))["params"],
    forward=forward,
    encode=lambda params, codebooks, x: (vqvae.encode(model, params, codebooks[0], x),),
    decode=lambda params, codebooks, codes: vqvae.decode(model, params, codebooks[0], codes[0]),
    dtype=dtype,
  )


def make(experiment: Experiment, own: str, split: Split, finished: dict[str, Any]) -> Task:
  del finished
  stage: VQVAEStage = getattr(experiment, own)
  return tokenizer.make(stage, network(stage, split.image_shape), split, DECIDED_BY)


DECIDED_BY = {
  r"codebook": ("codebook.num_codes", "codebook.dim", "codebook.update"),
  r"to_codes|from_codes": ("codebook.dim", "codes_per_position"),
  r"(down|up)_\d": ("num_downsamples", "channels"),
  r"_blocks_\d": ("num_residual_blocks", "residual_channels"),
}
