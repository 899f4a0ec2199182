"""VQ-VAE-2 as a tokenizer of several levels."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp

from train.config import Experiment, field
from train.data import Split
from train.task import Task
from train.tasks import tokenizer
from train.tasks.tokenizer import Codebook, Network, TokenizerStage
from vqlab.autoencoders import vqvae2

__all__ = ["Codebook", "VQVAE2Stage", "make", "network"]


@dataclasses.dataclass(frozen=True)
class VQVAE2Stage(TokenizerStage):
  """A hierarchy of code maps; the defaults are the paper's (arXiv 1906.00446) for ImageNet."""

  downsamples: tuple[int, ...] = field((1, 2), least=1)
  """One number a level, top first: how often it halves the map of the level below, or the image."""


def network(stage: VQVAE2Stage, image_shape: tuple[int, int, int]) -> Network:
  """The network of a stage for images [H, W, C]."""
  dtype = jnp.dtype(stage.param_dtype)
  model = vqvae2.VQVAE2(
    image_channels=image_shape[-1],
    channels=stage.channels,
    residual_channels=stage.residual_channels,
    num_residual_blocks=stage.num_residual_blocks,
    downsamples=stage.downsamples,
    code_dim=stage.codebook.dim,
    dtype=jnp.dtype(stage.dtype),
    param_dtype=dtype,
  )

  def forward(params, codebooks, images):
    out = vqvae2.forward(model, params, codebooks, images)
    return out, vqvae2.losses(out, images)

  def init(key, codebooks):
    return model.init(key, jnp.zeros((1, *image_shape), dtype), codebooks)["params"]

  return Network(
    model=model,
    shapes=model.map_shapes(*image_shape[:2]),
    num_codes=(stage.codebook.num_codes,) * len(stage.downsamples),
    init=init,
    forward=forward,
    encode=functools.partial(vqvae2.encode, model),
    decode=functools.partial(vqvae2.decode, model),
    dtype=dtype,
  )


def make(experiment: Experiment, own: str, split: Split, finished: dict[str, Any]) -> Task:
  del finished
  stage: VQVAE2Stage = getattr(experiment, own)
  return tokenizer.make(stage, network(stage, split.image_shape), split, DECIDED_BY)


DECIDED_BY = {
  r"codebook": ("codebook.num_codes", "codebook.dim", "codebook.update", "downsamples"),
  r"to_codes": ("codebook.dim", "channels", "downsamples"),
  r"upsamples": ("codebook.dim", "downsamples"),
  r"block_\d": ("num_residual_blocks", "residual_channels", "channels"),
  r"(en|de)coders_\d": ("channels", "downsamples", "codebook.dim"),
}
