"""Networks for ML-VAE: from an observation to its content and style, and back.

Any Linen module will do that has the two methods

    encode(x: [N, ...]) -> Posterior                     each observation alone
    decode(content: [N, C], style: [N, S]) -> [N, ...]   what the likelihood reads

and the attributes `likelihood`, `content_dim` and `style_dim` (which only `generate` asks for).

`MLVAE` is the paper's for MNIST: one hidden layer each way, content and style of 10 dimensions.
Shapes: N observations, C content dimensions, S style dimensions.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqlab.autoencoders.evidence import Normal
from vqlab.losses.elbo import Bernoulli, Likelihood
from vqlab.nn import ConvTranspose, at_least_float32, checks


class Posterior(NamedTuple):
  """What observations tell of their content and of their style, each alone or its group's."""

  content: Normal  # f32[N, C]
  style: Normal  # f32[N, S]


class MLVAE(nn.Module):
  """Fully connected; for vectors as for images. Defaults: the paper's for MNIST.

  Attributes:
    shape: of an observation, such as (28, 28, 1) or (30,).
    content_dim: C; style_dim: S.
    hidden: widths of the encoder's hidden layers, and in reverse of the decoder's.
    likelihood: what the decoder's output means.
    dtype: of the computation; param_dtype: of the parameters.
  """

  shape: tuple[int, ...]
  content_dim: int = 10
  style_dim: int = 10
  hidden: tuple[int, ...] = (500,)
  likelihood: Likelihood = Bernoulli()
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    _check_sizes(self, "content_dim", "style_dim", "hidden")
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    self.encoder_layers = [nn.Dense(width, **types) for width in self.hidden]
    self.heads = Heads(self.content_dim, self.style_dim, **types)
    self.decoder_layers = [nn.Dense(width, **types) for width in reversed(self.hidden)]
    self.output = nn.Dense(math.prod(self.shape), **types)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Encoder and decoder with nothing between them; `init` runs it."""
    posterior = self.encode(x)
    return self.decode(posterior.content.mu, posterior.style.mu)

  def encode(self, x: jax.Array) -> Posterior:
    """[N, ...] -> what each observation tells."""
    _check_observations(self, x)
    x = x.reshape(len(x), -1).astype(self.dtype)
    for layer in self.encoder_layers:
      x = nn.tanh(layer(x))
    return self.heads(x)

  def decode(self, content: jax.Array, style: jax.Array) -> jax.Array:
    """[N, C], [N, S] -> [N, ...], in float32 at least."""
    x = jnp.concatenate([z.astype(self.dtype) for z in (content, style)], axis=-1)
    for layer in self.decoder_layers:
      x = nn.tanh(layer(x))
    x = self.output(x).astype(at_least_float32(self.param_dtype))
    return x.reshape(len(x), *self.shape)


class ConvMLVAE(nn.Module):
  """Convolutional, for images: strided 4x4 convolutions, a dense layer, and back.

  Attributes:
    shape: (H, W, channels) of an image; H and W multiples of 2^len(channels).
    content_dim: C; style_dim: S.
    channels: of the convolutions; each halves height and width.
    hidden: width of the dense layer each way.
    likelihood: what the decoder's output means.
    dtype: of the computation; param_dtype: of the parameters.
  """

  shape: tuple[int, int, int]
  content_dim: int = 10
  style_dim: int = 10
  channels: tuple[int, ...] = (32, 64)
  hidden: int = 256
  likelihood: Likelihood = Bernoulli()
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    _check_sizes(self, "content_dim", "style_dim", "channels", "hidden")
    factor = 2 ** len(self.channels)
    if (
      len(self.shape) != 3 or not self.channels or self.shape[0] % factor or self.shape[1] % factor
    ):
      raise ValueError(
        f"ConvMLVAE: shape is {list(self.shape)}; it must be [H, W, channels], H and W multiples "
        f"of {factor} for {len(self.channels)} convolutions"
      )
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    self.down = [nn.Conv(width, (4, 4), 2, **types) for width in self.channels]
    self.to_hidden = nn.Dense(self.hidden, **types)
    self.heads = Heads(self.content_dim, self.style_dim, **types)
    self.from_latents = nn.Dense(self.hidden, **types)
    self.to_map = nn.Dense(math.prod(self._map_shape()), **types)
    widths = (*reversed(self.channels[:-1]), self.shape[-1])
    self.up = [ConvTranspose(width, **types) for width in widths]

  def _map_shape(self) -> tuple[int, int, int]:
    factor = 2 ** len(self.channels)
    return (self.shape[0] // factor, self.shape[1] // factor, self.channels[-1])

  def __call__(self, x: jax.Array) -> jax.Array:
    """Encoder and decoder with nothing between them; `init` runs it."""
    posterior = self.encode(x)
    return self.decode(posterior.content.mu, posterior.style.mu)

  def encode(self, x: jax.Array) -> Posterior:
    """[N, H, W, channels] -> what each image tells."""
    _check_observations(self, x)
    x = x.astype(self.dtype)
    for conv in self.down:
      x = nn.relu(conv(x))
    return self.heads(nn.relu(self.to_hidden(x.reshape(len(x), -1))))

  def decode(self, content: jax.Array, style: jax.Array) -> jax.Array:
    """[N, C], [N, S] -> [N, H, W, channels], in float32 at least."""
    x = jnp.concatenate([z.astype(self.dtype) for z in (content, style)], axis=-1)
    x = nn.relu(self.to_map(nn.relu(self.from_latents(x))))
    x = x.reshape(len(x), *self._map_shape())
    for i, conv in enumerate(self.up):
      x = conv(nn.relu(x) if i else x)
    return x.astype(at_least_float32(self.param_dtype))


class Heads(nn.Module):
  """Features [N, F] -> the means and log-variances of content and style, in float32 at least."""

  content_dim: int
  style_dim: int
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: jax.Array) -> Posterior:
    def head(name: str, size: int) -> jax.Array:
      layer = nn.Dense(size, dtype=self.dtype, param_dtype=self.param_dtype, name=name)
      return layer(features).astype(at_least_float32(self.param_dtype))

    content = Normal(head("content_mu", self.content_dim), head("content_logvar", self.content_dim))
    style = Normal(head("style_mu", self.style_dim), head("style_logvar", self.style_dim))
    return Posterior(content, style)


def _check_sizes(model: nn.Module, *names: str) -> None:
  for name in names:
    sizes = getattr(model, name)
    for size in sizes if isinstance(sizes, tuple) else (sizes,):
      checks.whole_number(f"{type(model).__name__}: {name}", size, least=1)


def _check_observations(model: nn.Module, x: jax.Array) -> None:
  if x.shape[1:] != tuple(model.shape):
    expected = ", ".join(map(str, ("N", *model.shape)))
    raise ValueError(
      f"{type(model).__name__}: observations must be [{expected}]; found {list(x.shape)}"
    )
