"""Tokenizers of video: a VQ-VAE a frame, or one whose encoder sees the frames before it as well."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.codes.pixels import from_bytes, to_bytes
from train.codes.tokenizer import Codebook, CodebookStage, Coder, Fidelity, Tokenizer
from train.fields import field
from train.task import Batch, Run, Splits
from train.video import pictures
from train.video.episodes import Episodes
from vqlab import metrics
from vqlab.autoencoders import discrete
from vqlab.autoencoders.discrete import squared_error
from vqlab.autoencoders.vqvae import VQVAE
from vqlab.autoencoders.vqvae_video import VideoVQVAE

__all__ = ["Codebook", "VideoVQVAEStage"]


@dataclasses.dataclass(frozen=True)
class VideoVQVAEStage(CodebookStage):
  """A VQ-VAE for video (arXiv 1711.00937, section 4.4), see `vqlab.autoencoders.vqvae_video`."""

  frames: int = field(16, least=1)
  """Frames of a clip."""
  time_kernel: int = field(1, least=1)
  """Frames that each strided convolution of the encoder reads; 1: a VQ-VAE a frame."""
  channels: int = field(256, least=1)
  """Width of the convolutions."""
  residual_channels: int = field(256, least=1)
  """Width inside the residual blocks."""
  num_residual_blocks: int = field(2, least=0)
  num_downsamples: int = field(2, least=1, most=16)
  """Strided convolutions; each halves height and width."""
  data_variance: float = field(0.06, least=1e-9)
  """Divides the squared error: about the variance of pixels in [0, 1]."""

  def examples(self, run: Run) -> Splits:
    return {name: Episodes(videos, self.frames) for name, videos in run.splits.items()}

  def coder(self, about: dict[str, Any]) -> Coder:
    height, width, channels = about["frame_shape"]
    shape = (self.frames, height, width, channels)
    networks = VQVAE(
      image_channels=channels,
      channels=self.channels,
      residual_channels=self.residual_channels,
      num_residual_blocks=self.num_residual_blocks,
      num_downsamples=self.num_downsamples,
      code_dim=self.codebook.dim,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )
    model = VideoVQVAE(networks, self.time_kernel)

    def sums(reconstruction: jax.Array, x: jax.Array, batch: Batch) -> metrics.Total:
      return metrics.squared_error(jnp.clip(reconstruction, -0.5, 0.5), x, mask=counted(batch))

    def report(trained: Tokenizer, x: jax.Array, codes: tuple[jax.Array, ...]) -> dict[str, Any]:
      copies = jax.jit(functools.partial(discrete.decode, model))(*trained, codes)
      return show("reconstructions", to_bytes(x), to_bytes(copies))

    def show(name: str, *sets: np.ndarray, columns: int = 0) -> dict[str, Any]:
      return pictures.side_by_side(name, *sets)

    return Coder(
      model=model,
      shapes=model.map_shapes(*shape[:3]),
      num_codes=self.codebook.num_codes,
      spec={
        "clip": jax.ShapeDtypeStruct(shape, np.uint8),
        "size": jax.ShapeDtypeStruct((2,), np.int32),
        "label": jax.ShapeDtypeStruct((), np.int32),
        "whole": jax.ShapeDtypeStruct((), np.bool_),
        "action": jax.ShapeDtypeStruct((self.frames, about.get("action_dim", 0)), np.float32),
      },
      blank=jnp.zeros((1, *shape), self.param_dtype),
      dims=int(np.prod(shape)),
      inputs=lambda batch: from_bytes(batch["clip"], self.param_dtype),
      fidelity=Fidelity(
        "mse",
        squared_error,
        self.data_variance,
        sums,
        lambda sums: {"mse": metrics.mean(sums), "psnr": metrics.psnr(sums)},
      ),
      report=report,
      columns=1,
      rows=6,
      mask=counted,
      outputs=to_bytes,
      show=show,
    )


def counted(batch: Batch) -> jax.Array:
  """bool[B]: clips that are evaluated: not those that fill up a batch, nor what can't be read."""
  return batch["mask"] & batch["whole"]
