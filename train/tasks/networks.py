"""The network of any tokenizer's stage."""

from train.tasks import vqvae, vqvae2
from train.tasks.tokenizer import Network, TokenizerStage

_MAKERS = {vqvae.VQVAEStage: vqvae.network, vqvae2.VQVAE2Stage: vqvae2.network}


def of(stage: TokenizerStage, image_shape: tuple[int, int, int]) -> Network:
  """The autoencoder that a stage's config describes, for images [H, W, C]."""
  return _MAKERS[type(stage)](stage, image_shape)
