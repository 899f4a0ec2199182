"""Tokenizers of images: the VQ-VAE of 2017, of one level, and VQ-VAE-2, of several."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from train.codes.pixels import from_bytes, to_bytes
from train.codes.tokenizer import Codebook, CodebookStage, Coder, Fidelity, Tokenizer
from train.fields import field
from train.images import likelihood, sheets
from train.task import Batch
from vqlab import metrics
from vqlab.autoencoders import vqvae, vqvae2
from vqlab.autoencoders.discrete import squared_error

__all__ = ["Codebook", "VQVAE2Stage", "VQVAEStage"]


@dataclasses.dataclass(frozen=True)
class _ImageTokenizer(CodebookStage):
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
    model = self.network(
      image_channels=about["image_shape"][2],
      channels=self.channels,
      residual_channels=self.residual_channels,
      num_residual_blocks=self.num_residual_blocks,
      code_dim=self.codebook.dim,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )
    codes, dtype = self.codebook.num_codes, self.param_dtype
    return self.judged(coder_of(model, about, codes, dtype, mean=self.mean), about)

  def mean(self, decoded: jax.Array) -> jax.Array:
    """What the model gives as images in [-1/2, 1/2]."""
    return decoded

  def judged(self, coder: Coder, about: dict[str, Any]) -> Coder:
    """With how images are compared."""
    scale = self.data_variance or about["variance"]
    sums, figures = likelihood.error_sums, likelihood.error_figures
    return coder._replace(fidelity=Fidelity("mse", squared_error, scale, sums, figures))


def spec_of(shape: tuple[int, ...]) -> dict[str, Any]:
  """One example of images of this shape."""
  label = jax.ShapeDtypeStruct((), np.int32)
  return {"image": jax.ShapeDtypeStruct(shape, np.uint8), "label": label}


def coder_of(
  model: nn.Module,
  about: dict[str, Any],
  num_codes: int,
  param_dtype: str,
  *,
  mean: Callable[[jax.Array], jax.Array] = lambda decoded: decoded,
  takes_bytes: bool = False,
) -> Coder:
  """How images go into a model and come out, but for how they are compared.

  Args:
    mean: what the model gives as images in [-1/2, 1/2].
    takes_bytes: whether the model takes images as they are; else it takes such.
  """
  height, width, channels = shape = tuple(about["image_shape"])
  show = lambda name, *sets, columns: {f"{name}.png": sheets.rows(*sets, columns=columns)}
  columns = 16 if height <= 64 else 8
  inputs = lambda batch: from_bytes(batch["image"], param_dtype)
  outputs = lambda decoded: to_bytes(mean(decoded))

  def report(trained: Tokenizer, x: jax.Array, codes: tuple[jax.Array, ...]) -> dict[str, Any]:
    """Originals over what the top alone says, the first two levels, ..., all of them."""
    decode = jax.jit(functools.partial(vqvae.decode, model))
    copies = [outputs(decode(*trained, codes[: l + 1])) for l in range(len(codes))]
    originals = np.asarray(x) if takes_bytes else to_bytes(x)
    return show("reconstructions", originals, *copies, columns=columns)

  return Coder(
    model=model,
    shapes=model.map_shapes(height, width),
    num_codes=num_codes,
    spec=spec_of(shape),
    blank=jnp.zeros((1, *shape), jnp.uint8 if takes_bytes else jnp.dtype(param_dtype)),
    dims=height * width * channels,
    inputs=(lambda batch: batch["image"]) if takes_bytes else inputs,
    fidelity=None,
    report=report,
    columns=columns,
    mean=mean,
    outputs=outputs,
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
  likelihood: Literal["squared_error", "logistic", "categorical"] = field("squared_error")
  """What is decoded: images, by their squared error; or each byte's distribution, a discretised
  logistic or 256 logits, by its likelihood, which gives bits a dimension."""

  def network(self, **common: Any) -> vqvae.VQVAE:
    channels = common["image_channels"]
    squared = self.likelihood == "squared_error"
    return vqvae.VQVAE(
      num_downsamples=self.num_downsamples,
      codes_per_position=self.codes_per_position,
      output_channels=None if squared else likelihood.of(self.likelihood).outputs(channels),
      **common,
    )

  def mean(self, decoded: jax.Array) -> jax.Array:
    if self.likelihood == "squared_error":
      return decoded
    return likelihood.of(self.likelihood).mean(decoded) - 0.5

  def judged(self, coder: Coder, about: dict[str, Any]) -> Coder:
    if self.likelihood == "squared_error":
      return super().judged(coder, about)
    of, dims = likelihood.of(self.likelihood), coder.dims
    uniform = likelihood.bits(math.prod(coder.shapes[0]) * math.log(coder.num_codes), dims)

    def error(decoded: jax.Array, x: jax.Array) -> jax.Array:
      return likelihood.bits(-of.log_probs(decoded, likelihood.bytes_of(x)), 1)

    def sums(decoded: jax.Array, x: jax.Array, batch: Batch) -> tuple[metrics.Total, metrics.Total]:
      bits = metrics.total(error(decoded, x), mask=batch["mask"])
      return bits, likelihood.error_sums(coder.mean(decoded), x, batch)

    def figures(sums: tuple[metrics.Total, metrics.Total]) -> dict[str, Any]:
      given = metrics.mean(sums[0])
      bits = {"image_bits_given_codes": given, "image_bits_uniform": given + uniform}
      return bits | likelihood.error_figures(sums[1])

    nats = 1 / math.log(2)  # in bits
    return coder._replace(
      fidelity=Fidelity("image_bits_given_codes", error, nats, sums, figures),
      nats=lambda decoded, x: -of.log_prob(decoded, likelihood.bytes_of(x)),
    )


@dataclasses.dataclass(frozen=True)
class VQVAE2Stage(_ImageTokenizer):
  """A hierarchy of code maps; the defaults are the paper's (arXiv 1906.00446) for ImageNet."""

  downsamples: tuple[int, ...] = field((1, 2), least=1, most=16)
  """One number a level, top first: how often it halves the map of the level below, or the image."""

  def network(self, **common: Any) -> vqvae2.VQVAE2:
    return vqvae2.VQVAE2(downsamples=self.downsamples, **common)
