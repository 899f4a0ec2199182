"""VQ-VAE-2: a hierarchy of code maps (Razavi, van den Oord, Vinyals 2019, arXiv 1906.00446).

Levels are counted from the top, which has the smallest map. With e_l the features of level l, q_l
its quantized vectors, d_l what is decoded from the levels down to l, and [..] concatenation:

    e_L = E_L(x),  e_l = E_l(e_l+1)                      bottom up, each halving the map
    z_l = 1x1 [d_l-1, e_l],  q_l = nearest codes to z_l  top down
    u_l = [up(u_l-1), q_l],  d_l = D_l(u_l),  x' = d_L   u_1 = q_1
    loss = |x' - x|^2 + sum over l of beta |z_l - sg[q_l]|^2, and |sg[z_l] - q_l|^2 by gradient

E: strided 4x4 convolutions, one 3x3, residual blocks, ReLU. D: one 3x3 convolution, residual
blocks, ReLU, transposed 4x4 convolutions. With two levels this is the network of the widely used
rosinality/vq-vae-2-pytorch (its defaults are `residual_channels=32`); the paper's sizes are the
defaults here. The functions are those of all discrete autoencoders: discrete.py.

    model = VQVAE2()                                  # 256x256 -> 32x32 and 64x64
    params = model.init(key, images, codebooks)["params"]
    out = forward(model, params, codebooks, images)
    top, bottom = encode(model, params, codebooks, images)
    images = decode(model, params, codebooks, (top, bottom))    # or (top,): what the top alone says

Shapes: B batch, H W image size, C image channels, L levels, h_l w_l a level's map, D code
dimension, K_l codes of a level. Code maps are i32[B, h_l, w_l].
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqlab import quantize
from vqlab.autoencoders.discrete import Losses, Output, check, decode, encode, forward, losses
from vqlab.nn import Conv, ConvTranspose, Dense, ResidualBlock, at_least_float32

__all__ = ["VQVAE2", "Losses", "Output", "decode", "encode", "forward", "losses"]


class _Encoder(nn.Module):
  """[B, H, W, I] -> [B, H / 2^n, W / 2^n, channels]."""

  channels: int
  residual_channels: int
  num_residual_blocks: int
  num_downsamples: int
  dtype: DTypeLike
  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    for i in range(self.num_downsamples):
      # The first is half as wide, and so is a single one.
      width = self.channels // 2 if i == 0 else self.channels
      x = nn.relu(Conv(width, 4, 2, name=f"down_{i}", **types)(x))
    x = Conv(self.channels, name="conv", **types)(x)
    for i in range(self.num_residual_blocks):
      x = ResidualBlock(self.residual_channels, name=f"block_{i}", **types)(x)
    return nn.relu(x)


class _Decoder(nn.Module):
  """[B, h, w, I] -> [B, 2^n h, 2^n w, features]."""

  features: int
  channels: int
  residual_channels: int
  num_residual_blocks: int
  num_upsamples: int
  dtype: DTypeLike
  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    x = Conv(self.channels, name="conv", **types)(x)
    for i in range(self.num_residual_blocks):
      x = ResidualBlock(self.residual_channels, name=f"block_{i}", **types)(x)
    for i in range(self.num_upsamples):
      # The last but one is half as wide.
      last = self.num_upsamples - 1
      width = {last: self.features, last - 1: self.channels // 2}.get(i, self.channels)
      x = ConvTranspose(width, name=f"up_{i}", **types)(nn.relu(x))
    return x


class _Upsample(nn.Module):
  """Transposed convolutions alone: [B, h, w, I] -> [B, 2^n h, 2^n w, features]."""

  features: int
  num_upsamples: int
  dtype: DTypeLike
  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    for i in range(self.num_upsamples):
      x = ConvTranspose(self.features, name=f"up_{i}", **types)(x)
    return x


class VQVAE2(nn.Module):
  """The encoders and the decoders of all levels. Defaults: the paper's for ImageNet 256x256.

  Attributes:
    image_channels: C.
    channels: width of the convolutions.
    residual_channels: width inside the residual blocks.
    num_residual_blocks: in every encoder and every decoder.
    downsamples: of each level, top first: how often its encoder halves the map of the level below
      it, or the image. (1, 2) at 256x256: 32x32 and 64x64. (1, 1, 3) at 1024x1024: 32x32, 64x64
      and 128x128.
    code_dim: D, at all levels.
    dtype: of the computation; param_dtype: of the parameters.
  """

  image_channels: int = 3
  channels: int = 128
  residual_channels: int = 64
  num_residual_blocks: int = 2
  downsamples: tuple[int, ...] = (1, 2)
  code_dim: int = 64
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    if not self.downsamples or min(self.downsamples) < 1:
      raise ValueError(f"VQVAE2: downsamples is {self.downsamples}; every level needs at least 1")
    for name, least in (("channels", 2), ("residual_channels", 1), ("code_dim", 1)):
      if getattr(self, name) < least:
        raise ValueError(f"VQVAE2: {name} is {getattr(self, name)}; it must be at least {least}")
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    sizes = (self.channels, self.residual_channels, self.num_residual_blocks)
    bottom = self.num_levels - 1
    self.encoders = [_Encoder(*sizes, n, **types) for n in self.downsamples]
    self.to_codes = [Dense(self.code_dim, **types) for _ in self.downsamples]
    self.decoders = [
      _Decoder(self.image_channels if l == bottom else self.code_dim, *sizes, n, **types)
      for l, n in enumerate(self.downsamples)
    ]
    # From each level but the bottom to the next.
    self.upsamples = [_Upsample(self.code_dim, n, **types) for n in self.downsamples[:-1]]

  @property
  def num_levels(self) -> int:
    return len(self.downsamples)

  def map_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
    """(h_l, w_l) of every level, top first, for images of this size."""
    factor = 2 ** sum(self.downsamples)
    if height % factor or width % factor:
      raise ValueError(
        f"VQVAE2: images of {height}x{width}; downsamples={tuple(self.downsamples)} needs sides "
        f"that {factor} divides"
      )
    halvings = [sum(self.downsamples[l:]) for l in range(self.num_levels)]
    return tuple((height >> n, width >> n) for n in halvings)

  def __call__(
    self,
    images: jax.Array,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> Output:
    """Encodes, quantizes level by level from the top, and decodes; see `forward`."""
    z, quantized = self.quantize(images, codebooks, estimator=estimator)
    return Output(self.decode([q.vectors for q in quantized]), z, quantized)

  def quantize(
    self,
    images: jax.Array,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> tuple[tuple[jax.Array, ...], tuple[quantize.Quantized, ...]]:
    """z and its quantization at every level, top first. The bottom is not decoded."""
    if images.ndim != 4 or images.shape[-1] != self.image_channels:
      raise ValueError(
        f"VQVAE2: images have shape {list(images.shape)}; expected [B, H, W, {self.image_channels}]"
      )
    self.map_shapes(*images.shape[1:3])
    check("VQVAE2", codebooks, levels=self.num_levels, dim=self.code_dim)
    features, x = [], images.astype(self.dtype)
    for encoder in reversed(self.encoders):  # bottom up
      x = encoder(x)
      features.insert(0, x)
    zs, quantized = [], []
    above = decoded = None
    for l, codebook in enumerate(codebooks):
      x = features[l] if l == 0 else jnp.concatenate([decoded, features[l]], axis=-1)
      z = self.to_codes[l](x).astype(at_least_float32(self.param_dtype))
      zs.append(z)
      quantized.append(quantize.quantize(z, codebook, estimator=estimator))
      if l < self.num_levels - 1:
        above = self._with_above(l, above, quantized[-1].vectors)
        decoded = self.decoders[l](above)
    return tuple(zs), tuple(quantized)

  def decode(self, vectors: Sequence[jax.Array]) -> jax.Array:
    """Vectors [B, h_l, w_l, D] of every level -> images [B, H, W, C], float32 at least.

    Those of a level below the top may be a single [D], which stands at every position.
    """
    above = None
    for l, q in enumerate(vectors):
      above = self._with_above(l, above, q)
    return self.decoders[-1](above).astype(at_least_float32(self.param_dtype))

  def _with_above(self, level: int, above: jax.Array | None, vectors: jax.Array) -> jax.Array:
    """u_l: what the levels above say, brought to this level's size, and its own vectors."""
    vectors = vectors.astype(self.dtype)
    if above is None:
      return vectors
    above = self.upsamples[level - 1](above)
    if vectors.ndim == 1:
      vectors = jnp.broadcast_to(vectors, (*above.shape[:-1], len(vectors)))
    return jnp.concatenate([above, vectors], axis=-1)
