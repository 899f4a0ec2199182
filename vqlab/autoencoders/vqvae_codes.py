"""VQ-VAE over the codes of another: a whole map in a few latents, with a PixelCNN for a decoder.

van den Oord et al. 2017 (arXiv 1711.00937), section 4.2: the 21x21 codes of an image become three
latents of K = 512, each with a codebook of its own, 27 bits in all; a PixelCNN that is told of them
gives the codes back. Such a decoder would do without latents, and with a VAE's it does: posterior
collapse. Here it has no choice: what the encoder gives is not paid for by the bit.

    z_1 .. z_N = encoder(codes)        q_n = nearest of codebook n to z_n
    p(codes | q) = PixelCNN(codes | features(q_1 .. q_N))
    loss = -log p(codes | q) + sum_n |sg[z_n] - q_n|^2 + beta |z_n - sg[q_n]|^2

The functions are those of all discrete autoencoders (discrete.py), with a level for each latent,
all of which the decoder needs; codes are drawn, as `draw` does, and not decoded:

    model = CodesVQVAE(num_codes=512, map_shape=(21, 21))
    params = model.init(key, codes, codebooks)["params"]               # three of [512, D]
    out = forward(model, params, codebooks, codes)                     # out.reconstruction: logits
    latents = encode(model, params, codebooks, codes)                  # three of i32[B]
    codes = draw(key, model, params, codebooks, latents)

Shapes: B images, H W their map of codes, K codes, N latents, D code dimension, F features.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqlab import priors, quantize
from vqlab.autoencoders.discrete import Output, check
from vqlab.metrics.likelihood import log_likelihood
from vqlab.nn import Conv, Dense, ResidualBlock


class CodesVQVAE(nn.Module):
  """The encoder and the decoder. The paper gives the latents' number and size, and no others.

  Attributes:
    num_codes: K.
    map_shape: (H, W).
    num_latents: N.
    channels: width of the encoder's convolutions.
    residual_channels: width inside its residual blocks.
    num_residual_blocks: at each of the encoder's sizes.
    num_downsamples: strided convolutions, each of which halves height and width, rounded up.
    code_dim: D.
    features: F, what the decoder is told at a position.
    decoder_channels, num_layers, kernel_size, hidden: of the PixelCNN.
    dtype: of the computation; param_dtype: of the parameters.
  """

  num_codes: int
  map_shape: tuple[int, int]
  num_latents: int = 3
  channels: int = 256
  residual_channels: int = 256
  num_residual_blocks: int = 2
  num_downsamples: int = 2
  code_dim: int = 64
  features: int = 128
  decoder_channels: int = 128
  num_layers: int = 12
  kernel_size: int = 5
  hidden: int = 512
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    self.embed = nn.Embed(self.num_codes, self.channels, **types)
    self.down = [Conv(self.channels, 4, 2, **types) for _ in range(self.num_downsamples)]
    self.blocks = [
      ResidualBlock(self.residual_channels, **types) for _ in range(self.num_residual_blocks)
    ]
    self.to_codes = Dense(self.num_latents * self.code_dim, **types)
    self.from_codes = Dense(math.prod(self._coarse) * self.features, **types)
    self.spread = ResidualBlock(self.features, **types)
    self.pixelcnn = self.decoder()

  def decoder(self) -> priors.PixelCNN:
    """The prior over codes given features, whose parameters are `params["pixelcnn"]`."""
    return priors.PixelCNN(
      num_codes=self.num_codes,
      map_shape=self.map_shape,
      num_features=self.features,
      channels=self.decoder_channels,
      num_layers=self.num_layers,
      kernel_size=self.kernel_size,
      hidden=self.hidden,
      dtype=self.dtype,
      param_dtype=self.param_dtype,
      parent=None,  # it may be asked for outside of `apply`, too
    )

  @property
  def num_levels(self) -> int:
    return self.num_latents

  @property
  def _coarse(self) -> tuple[int, int]:
    """Height and width after the encoder's strides."""
    return tuple(-(-side // 2**self.num_downsamples) for side in self.map_shape)

  def map_shapes(self) -> tuple[tuple[int, ...], ...]:
    """() for each latent."""
    return ((),) * self.num_latents

  def __call__(
    self,
    codes: jax.Array,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> Output:
    """Encodes, quantizes, and says how probable every code is: `reconstruction` has the logits
    [B, H, W, K]."""
    z, quantized = self.quantize(codes, codebooks, estimator=estimator)
    cond = self.conditions([q.vectors for q in quantized])
    return Output(self.pixelcnn(codes, cond), z, quantized)

  def quantize(
    self,
    codes: jax.Array,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> tuple[tuple[jax.Array, ...], tuple[quantize.Quantized, ...]]:
    """z [B, D] of every latent, and its quantization."""
    check("CodesVQVAE", codebooks, levels=self.num_latents, dim=self.code_dim)
    z = self.encoder(codes)
    pairs = zip(z, codebooks, strict=True)
    return z, tuple(quantize.quantize(z, e, estimator=estimator) for z, e in pairs)

  def encoder(self, codes: jax.Array) -> tuple[jax.Array, ...]:
    """Codes i32[B, H, W] -> z [B, D] of every latent."""
    if codes.shape[1:] != tuple(self.map_shape) or not jnp.issubdtype(codes.dtype, jnp.integer):
      H, W = self.map_shape
      raise ValueError(
        f"CodesVQVAE: codes must be int[B, {H}, {W}]; found {codes.dtype}{list(codes.shape)}"
      )
    x = self.embed(codes)
    for conv in self.down:
      x = conv(nn.relu(x))
    for block in self.blocks:
      x = block(x)
    z = self.to_codes(nn.relu(x).reshape(len(x), -1))
    return tuple(jnp.split(z, self.num_latents, axis=-1))

  def conditions(self, vectors: Sequence[jax.Array]) -> priors.Conditions:
    """What the PixelCNN is told of latents' vectors [B, D]: features at every position."""
    x = jnp.concatenate([v.astype(self.dtype) for v in vectors], axis=-1)
    x = self.from_codes(x).reshape(len(x), *self._coarse, self.features)
    x = nn.relu(self.spread(x))
    for axis in (1, 2):
      x = jnp.repeat(x, 2**self.num_downsamples, axis=axis)
    return priors.Conditions(features=x[:, : self.map_shape[0], : self.map_shape[1]])


def nats(logits: jax.Array, codes: jax.Array) -> jax.Array:
  """-log p of every code: [B, H, W], from the logits of `forward`."""
  return -log_likelihood(logits, codes)


def draw(
  key: jax.Array,
  model: CodesVQVAE,
  params: dict,
  codebooks: Sequence[jax.Array],
  latents: Sequence[jax.Array],
  **options: Any,
) -> jax.Array:
  """Draws maps of codes i32[B, H, W] for latents i32[B], one array each, as `encode` gives them.

  options: `temperature`, `top_k`, `top_p` and `first_index` of `priors.sample`.
  """
  vectors = [quantize.lookup(book, l) for book, l in zip(codebooks, latents, strict=True)]
  cond = model.apply({"params": params}, vectors, method="conditions")
  shape = (len(latents[0]), *model.map_shape)
  return priors.sample(key, model.decoder(), params["pixelcnn"], shape, cond=cond, **options)
