"""VQ-VAE for sound (van den Oord, Vinyals, Kavukcuoglu 2017, arXiv 1711.00937, section 4.3).

    z = encoder(x),  codes = nearest of e_1 .. e_K to each vector of z
    log p(x | codes, speaker) = sum over t of log p(x_t | x_<t, codes, speaker)
    loss = -log p(x | codes, speaker) + |sg[z] - codes|^2 + beta |z - sg[codes]|^2

Encoder: 1D convolutions of stride 2 and window 4, six in the paper (64x), then residual blocks if
any. Decoder: a WaveNet over samples in mu-law codes, conditioned on the codes' vectors, convolved
and repeated, and on who speaks. What the codes need not say, because the speaker tells it, they
come to leave out: the same codes with another speaker are the same words in another voice.

The functions are those of all discrete autoencoders (discrete.py), of one level, but for `decode`:
sound is drawn, sample by sample.

    model = AudioVQVAE(num_speakers=109)
    sound = Sound(samples, speakers)
    params = model.init(key, sound, (codebook,))["params"]
    out = forward(model, params, (codebook,), sound)             # .reconstruction: logits
    terms = losses(out, sound, error=nats)                       # nats a sample
    codes = encode(model, params, (codebook,), sound)
    samples = speak(key, model, params, (codebook,), codes, speakers)   # conversion: of others

Shapes: B batch, T samples, S = ceil(T / hop) codes (frames), D code dimension, K
codes, F features, M mu-law codes.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqlab import priors, quantize
from vqlab.autoencoders.discrete import Losses, Output, check, encode, forward, losses
from vqlab.metrics.likelihood import log_likelihood
from vqlab.nn import checks
from vqlab.nn.conv1d import Conv1D
from vqlab.nn.dense import Dense
from vqlab.nn.mu_law import companded, inverse_mu_law, mu_law

__all__ = [
  "AudioVQVAE",
  "Losses",
  "Output",
  "Sound",
  "decoder_conditions",
  "encode",
  "forward",
  "losses",
  "nats",
  "speak",
]


class Sound(NamedTuple):
  """What the model takes for x."""

  samples: jax.Array  # f[B, T] in [-1, 1]
  speakers: jax.Array | None = None  # i32[B]; None where the decoder is told of none
  # In training the decoder may hear other sounds, f[B, T], before sample `first`, i32[B], of each.
  # It is not asked for what they hide, and learns to follow the codes whatever came before.
  other: jax.Array | None = None
  first: jax.Array | None = None


class _Residual(nn.Module):
  """x + (ReLU, convolution of 3, ReLU, of 1)(x)."""

  channels: int
  dtype: DTypeLike
  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    y = Conv1D(self.channels, 3, **types)(nn.relu(x))
    return x + Dense(x.shape[-1], **types)(nn.relu(y))


class AudioVQVAE(nn.Module):
  """The encoder and the decoder. Defaults: the paper's for VCTK, where it gives them.

  It calls its decoder "similar to the WaveNet decoder" and gives no sizes. Those here are WaveNet's
  usual ones: three cycles of dilations 1 to 512.

  Attributes:
    num_speakers: that the decoder is told of; 0: none.
    strides: of the encoder's convolutions, whose windows are twice as long. Six of 2 make a code of
      64 samples, (2,) * 7 of 128, (2,) * 7 + (5,) of 640.
    channels: width of the encoder's convolutions.
    num_residual_blocks: of the encoder, at the rate of the codes.
    residual_channels: width inside of them.
    code_dim: D.
    local_features: F, what the decoder is told at a position of the codes.
    num_local_blocks: residual blocks at the rate of the codes, which tell it of those around.
    decoder_channels, skip_channels, hidden, num_layers, cycle: of the WaveNet.
    num_sample_codes: M.
    dtype: of the computation; param_dtype: of the parameters.
  """

  num_speakers: int = 0
  strides: tuple[int, ...] = (2,) * 6
  channels: int = 256
  num_residual_blocks: int = 0
  residual_channels: int = 256
  code_dim: int = 64
  local_features: int = 128
  num_local_blocks: int = 0
  decoder_channels: int = 256
  skip_channels: int = 256
  hidden: int = 256
  num_layers: int = 30
  cycle: int = 10
  num_sample_codes: int = 256
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    if not self.strides or min(self.strides) < 1:
      raise ValueError(f"AudioVQVAE: strides are {self.strides}; give at least one, each >= 1")
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    blocks = range(self.num_residual_blocks)
    self.down = [Conv1D(self.channels, 2 * s, s, **types) for s in self.strides]
    self.encoder_blocks = [_Residual(self.residual_channels, **types) for _ in blocks]
    self.to_codes = Dense(self.code_dim, **types)
    self.from_codes = Conv1D(self.local_features, 3, **types)
    self.local_blocks = [
      _Residual(self.local_features, **types) for _ in range(self.num_local_blocks)
    ]
    self.wavenet = self.decoder()

  def decoder(self) -> priors.WaveNet:
    """The prior over samples, whose parameters are `params["wavenet"]`."""
    return priors.WaveNet(
      num_codes=self.num_sample_codes,
      label_sizes=(self.num_speakers,) if self.num_speakers else (),
      local_features=self.local_features,
      hop=self.hop,
      channels=self.decoder_channels,
      skip_channels=self.skip_channels,
      hidden=self.hidden,
      num_layers=self.num_layers,
      cycle=self.cycle,
      ordered=True,
      dtype=self.dtype,
      param_dtype=self.param_dtype,
      parent=None,  # it may be asked for outside of `apply`, too
    )

  @property
  def num_levels(self) -> int:
    return 1

  @property
  def hop(self) -> int:
    """Samples of a code."""
    return math.prod(self.strides)

  def map_shapes(self, length: int) -> tuple[tuple[int], ...]:
    """((S,),) for so many samples."""
    return ((-(-length // self.hop),),)

  def __call__(
    self,
    x: Sound,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> Output:
    """Encodes, quantizes, and says how probable every sample is: `reconstruction` has the logits of
    mu-law codes, [B, T, M]."""
    z, quantized = self.quantize(x, codebooks, estimator=estimator)
    cond = self.conditions([q.vectors for q in quantized], x.speakers)
    heard = x.samples
    if x.first is not None:
      heard = jnp.where(_asked(x), heard, x.other)
    codes = mu_law(heard, num_codes=self.num_sample_codes)
    return Output(self.wavenet(codes, cond), z, quantized)

  def quantize(
    self,
    x: Sound,
    codebooks: Sequence[jax.Array],
    *,
    estimator: quantize.Estimator = quantize.straight_through,
  ) -> tuple[tuple[jax.Array, ...], tuple[quantize.Quantized, ...]]:
    """z [B, S, D] and its quantization, of the one level; speakers are not looked at."""
    check("AudioVQVAE", codebooks, levels=1, dim=self.code_dim)
    z = self.encoder(x.samples)
    return (z,), (quantize.quantize(z, codebooks[0], estimator=estimator),)

  def encoder(self, samples: jax.Array) -> jax.Array:
    """Samples f[B, T] -> z [B, S, D]. It hears them companded, as they are told apart."""
    if samples.ndim != 2:
      raise ValueError(f"AudioVQVAE: samples must be [B, T]; found {list(samples.shape)}")
    x = companded(samples, num_codes=self.num_sample_codes)[..., None].astype(self.dtype)
    for i, conv in enumerate(self.down):
      x = conv(nn.relu(x) if i else x)
    for block in self.encoder_blocks:
      x = block(x)
    return self.to_codes(nn.relu(x))

  def conditions(
    self, vectors: Sequence[jax.Array], speakers: jax.Array | None
  ) -> priors.SequenceConditions:
    """What the WaveNet is conditioned on: vectors [B, S, D] of the one level, and who speaks."""
    (x,) = vectors
    local = self.from_codes(x.astype(self.dtype))
    for block in self.local_blocks:
      local = block(local)
    local = nn.relu(local)
    if self.num_speakers and speakers is None:
      raise ValueError(f"speakers are missing: this model has {self.num_speakers}; pass int[B]")
    return priors.SequenceConditions((speakers,) if self.num_speakers else (), local)


def nats(logits: jax.Array, x: Sound) -> jax.Array:
  """-log p of every sample: [B, T], from the logits of `forward`.

  Where other sounds are heard first it is 0 of the samples that they hide, and as much more of the
  others that means over T are of those alone.
  """
  values = -log_likelihood(logits, mu_law(x.samples, num_codes=logits.shape[-1]))
  if x.first is None:
    return values
  asked = _asked(x)
  return jnp.where(asked, values, 0) / asked.mean(1, keepdims=True, dtype=values.dtype)


def _asked(x: Sound) -> jax.Array:
  """bool[B, T]: the samples from `first` on."""
  return jnp.arange(x.samples.shape[1], dtype=jnp.int32) >= x.first[:, None]


def speak(
  key: jax.Array,
  model: AudioVQVAE,
  params: dict,
  codebooks: Sequence[jax.Array],
  codes: Sequence[jax.Array],
  speakers: jax.Array | None = None,
  *,
  length: int | None = None,
  **options: Any,
) -> jax.Array:
  """Draws the sound of codes in somebody's voice.

  Args:
    codes: i32[B, S] of the one level, as `encode` gives them.
    speakers: i32[B]; those of the encoded sound reconstruct it, others convert it.
    length: T, at most S * hop, which is the default.
    options: `temperature`, `top_k`, `top_p` and `first_index` of `priors.sample`.

  Returns:
    Samples f32[B, T] in [-1, 1]: the same for a key and an index, whatever the batch.
  """
  count, frames = codes[0].shape
  most = frames * model.hop
  if length is not None and not 1 <= length <= most:
    raise ValueError(f"length is {length}; codes [{count}, {frames}] are at most {most} samples")
  checks.integers_in_range("codes", codes[0], len(codebooks[0]))
  cond = decoder_conditions(model, params, codebooks, codes, speakers)
  shape = (count, most if length is None else length)
  wavenet = params["wavenet"]
  drawn = priors.sample(key, model.decoder(), wavenet, shape, cond=cond, **options)
  return inverse_mu_law(drawn, num_codes=model.num_sample_codes)


def decoder_conditions(
  model: AudioVQVAE,
  params: dict,
  codebooks: Sequence[jax.Array],
  codes: Sequence[jax.Array],
  speakers: jax.Array | None = None,
) -> priors.SequenceConditions:
  """What `model.decoder()` is conditioned on for codes: for `priors.stream`, say."""
  vectors = [quantize.lookup(book, c) for book, c in zip(codebooks, codes, strict=True)]
  return model.apply({"params": params}, vectors, speakers, method="conditions")
