"""VQ-VAE for images (van den Oord, Vinyals, Kavukcuoglu 2017, arXiv 1711.00937).

    z = encoder(x),   codes = nearest of e_1 .. e_K to each vector of z,   x' = decoder(codes)
    loss = -log p(x | codes) + |sg[z] - codes|^2 + beta |z - sg[codes]|^2

Encoder: strided 4x4 convolutions, then residual 3x3 blocks. Decoder: residual blocks, then
transposed 4x4 convolutions. The functions are those of all discrete autoencoders (discrete.py), of
one level: codebooks and codes are tuples of one.

    model = VQVAE(image_channels=3)
    params = model.init(key, images, (codebook,))["params"]
    out = forward(model, params, (codebook,), images)
    (codes,) = encode(model, params, (codebook,), images)
    images = decode(model, params, (codebook,), (codes,))

Shapes: B batch, H W image size, C image channels, h = H / 2^num_downsamples and w alike, G codes a
position, D code dimension, K codes. Code maps are i32[B, h, w], or i32[B, h, w, G] where G > 1.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqlab import quantize
from vqlab.autoencoders.discrete import Losses, Output, check, decode, encode, forward, losses
from vqlab.nn import Conv, ConvTranspose, Dense, ResidualBlock, at_least_float32

__all__ = ["VQVAE", "Losses", "Output", "decode", "encode", "forward", "losses"]


class VQVAE(nn.Module):
  """The encoder and the decoder. Defaults: the paper's for CIFAR-10, with one code a position.

  Attributes:
    image_channels: C.
    channels: width of every convolution.
    residual_channels: width inside the residual blocks.
    num_residual_blocks: in the encoder, and again in the decoder.
    num_downsamples: strided convolutions; each halves height and width.
    code_dim: D.
    codes_per_position: G.
    output_channels: of what is decoded; None: C. Others where it is parameters of a distribution.
    dtype: of the computation; param_dtype: of the parameters.
  """

  image_channels: int = 3
  channels: int = 256
  residual_channels: int = 256
  num_residual_blocks: int = 2
  num_downsamples: int = 2
  code_dim: int = 64
  codes_per_position: int = 1
  output_channels: int | None = None
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    for name in ("channels", "num_downsamples", "code_dim", "codes_per_position"):
      if getattr(self, name) < 1:
        raise ValueError(f"VQVAE: {name} is {getattr(self, name)}; it must be at least 1")
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    blocks = range(self.num_residual_blocks)
    outputs = self.image_channels if self.output_channels is None else self.output_channels
    ups = [self.channels] * (self.num_downsamples - 1) + [outputs]
    self.down = [Conv(self.channels, 4, 2, **types) for _ in range(self.num_downsamples)]
    self.encoder_blocks = [ResidualBlock(self.residual_channels, **types) for _ in blocks]
    self.to_codes = Dense(self.codes_per_position * self.code_dim, **types)
    self.from_codes = Conv(self.channels, **types)
    self.decoder_blocks = [ResidualBlock(self.residual_channels, **types) for _ in blocks]
    self.up = [ConvTranspose(features, **types) for features in ups]

  @property
  def num_levels(self) -> int:
    return 1

  def map_shapes(self, height: int, width: int) -> tuple[tuple[int, ...], ...]:
    """((h, w),) for images of this size, or ((h, w, G),) where G > 1."""
    factor = 2**self.num_downsamples
    if height % factor or width % factor:
      raise ValueError(
        f"VQVAE: image height and width must be multiples of {factor} = 2^num_downsamples; "
        f"found {height}x{width}"
      )
    groups = (self.codes_per_position,) if self.codes_per_position > 1 else ()
    return ((height // factor, width // factor, *groups),)

  def __call__(
    self,
    images: jax.Array,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> Output:
    """Encodes, quantizes and decodes; see `forward`."""
    z, quantized = self.quantize(images, codebooks, estimator=estimator)
    return Output(self.decode([q.vectors for q in quantized]), z, quantized)

  def quantize(
    self,
    images: jax.Array,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> tuple[tuple[jax.Array, ...], tuple[quantize.Quantized, ...]]:
    """z and its quantization, of the one level."""
    check("VQVAE", codebooks, levels=1, dim=self.code_dim)
    z = self.encoder(images)
    return (z,), (quantize.quantize(z, codebooks[0], estimator=estimator),)

  def encoder(self, images: jax.Array) -> jax.Array:
    """[B, H, W, C] -> z: [B, h, w, D], or [B, h, w, G, D] where G > 1."""
    if images.ndim != 4 or images.shape[-1] != self.image_channels:
      raise ValueError(
        f"VQVAE: images must be [B, H, W, {self.image_channels}]; found {images.shape}"
      )
    self.map_shapes(*images.shape[1:3])
    x = images.astype(self.dtype)
    for i, conv in enumerate(self.down):
      x = conv(nn.relu(x) if i else x)
    for block in self.encoder_blocks:
      x = block(x)
    z = self.to_codes(nn.relu(x))
    return z.reshape(*z.shape[:3], -1, self.code_dim) if self.codes_per_position > 1 else z

  def decode(self, vectors: Sequence[jax.Array]) -> jax.Array:
    """Vectors shaped like z, of the one level -> images [B, H, W, C], float32 at least.

    Where there are `output_channels`, they are what it gives in place of C.
    """
    (x,) = vectors
    x = x.reshape(*x.shape[:3], -1).astype(self.dtype)
    x = self.from_codes(x)
    for block in self.decoder_blocks:
      x = block(x)
    for conv in self.up:
      x = conv(nn.relu(x))
    return x.astype(at_least_float32(self.param_dtype))
