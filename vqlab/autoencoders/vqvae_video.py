"""VQ-VAE for video (van den Oord et al. 2017, arXiv 1711.00937, section 4.4): codes of every frame.

    codes of frame t = nearest to encoder(frames <= t)          frame t' = decoder(codes of frame t)

The encoder sees each frame alone, or, with a `time_kernel` above 1, the frames before it as well:
its strided convolutions are then 3D ones that end in time at the frame itself. So no code knows of
a later frame: those of given frames are the same whatever follows, and a prior may draw what does.
The decoder makes each frame of its own codes, and is that of `VQVAE`. The functions are those of
all discrete autoencoders (discrete.py), of one level:

    model = VideoVQVAE(VQVAE(image_channels=3), time_kernel=3)
    params = model.init(key, clips, (codebook,))["params"]
    (codes,) = encode(model, params, (codebook,), clips)              # i32[B, T, h, w]

Shapes: B clips, T frames, H W their size, C channels, h = H / 2^num_downsamples and w alike, D code
dimension.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

from vqlab import quantize
from vqlab.autoencoders.discrete import Output, check
from vqlab.autoencoders.vqvae import VQVAE
from vqlab.nn import Conv3D, Dense, ResidualBlock


class VideoVQVAE(nn.Module):
  """Encoder and decoder.

  Attributes:
    networks: of frames, with one code a position; with a `time_kernel` above 1 its decoder alone.
    time_kernel: frames that each strided convolution of the encoder reads, its own the last.
  """

  networks: VQVAE
  time_kernel: int = 1

  def setup(self) -> None:
    net = self.networks
    if self.time_kernel < 1:
      raise ValueError(f"VideoVQVAE: time_kernel is {self.time_kernel}; it must be at least 1")
    if net.codes_per_position != 1:
      raise ValueError(
        f"VideoVQVAE: networks.codes_per_position is {net.codes_per_position}; it must be 1"
      )
    if self.time_kernel > 1:
      types = {"dtype": net.dtype, "param_dtype": net.param_dtype}
      window = {"kernel_size": (self.time_kernel, 4, 4), "stride": (1, 2, 2), "use_bias": True}
      padding = ((self.time_kernel - 1, 0), (1, 1), (1, 1))
      init = nn.initializers.lecun_normal()
      self.down = [
        Conv3D(net.channels, padding=padding, kernel_init=init, **window, **types)
        for _ in range(net.num_downsamples)
      ]
      blocks = range(net.num_residual_blocks)
      self.blocks = [ResidualBlock(net.residual_channels, **types) for _ in blocks]
      self.to_codes = Dense(net.code_dim, **types)

  @property
  def num_levels(self) -> int:
    return 1

  def map_shapes(self, frames: int, height: int, width: int) -> tuple[tuple[int, ...], ...]:
    """((T, h, w),) for clips of this size."""
    (shape,) = self.networks.map_shapes(height, width)
    return ((frames, *shape),)

  def __call__(
    self,
    clips: jax.Array,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> Output:
    """Encodes, quantizes and decodes; see `discrete.forward`."""
    z, quantized = self.quantize(clips, codebooks, estimator=estimator)
    return Output(self.decode([q.vectors for q in quantized]), z, quantized)

  def quantize(
    self,
    clips: jax.Array,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> tuple[tuple[jax.Array, ...], tuple[quantize.Quantized, ...]]:
    """z and its quantization, of the one level."""
    check("VideoVQVAE", codebooks, levels=1, dim=self.networks.code_dim)
    z = self.encoder(clips)
    return (z,), (quantize.quantize(z, codebooks[0], estimator=estimator),)

  def encoder(self, clips: jax.Array) -> jax.Array:
    """[B, T, H, W, C] -> z: [B, T, h, w, D]."""
    channels = self.networks.image_channels
    if clips.ndim != 5 or clips.shape[-1] != channels:
      raise ValueError(f"VideoVQVAE: clips must be [B, T, H, W, {channels}]; found {clips.shape}")
    lead = clips.shape[:2]
    if self.time_kernel == 1:
      z = self.networks.encoder(clips.reshape(-1, *clips.shape[2:]))
      return z.reshape(*lead, *z.shape[1:])
    self.networks.map_shapes(*clips.shape[2:4])
    x = clips.astype(self.networks.dtype)
    for i, conv in enumerate(self.down):
      x = conv(nn.relu(x) if i else x)
    x = x.reshape(-1, *x.shape[2:])
    for block in self.blocks:
      x = block(x)
    z = self.to_codes(nn.relu(x))
    return z.reshape(*lead, *z.shape[1:])

  def decode(self, vectors: Sequence[jax.Array]) -> jax.Array:
    """Vectors shaped like z, of the one level -> clips [B, T, H, W, C], float32 at least."""
    (x,) = vectors
    frames = self.networks.decode([x.reshape(-1, *x.shape[2:])])
    return frames.reshape(*x.shape[:2], *frames.shape[1:])
