"""Terms of the evidence lower bound: likelihoods of an observation, KL to the standard normal.

A likelihood is a frozen object that knows what a decoder's output means:

    likelihood = Bernoulli()                       # the output is logits
    likelihood.log_prob(decoded, x)                # [N], in nats
    likelihood.mean(decoded)                       # what a person looks at

Shapes: N observations, ... of one observation, D latent dimensions.
"""

import dataclasses
import math
from numbers import Real

import jax
import jax.numpy as jnp

from vqlab.nn.dtypes import at_least_float32


@dataclasses.dataclass(frozen=True)
class Bernoulli:
  """Independent pixels in [0, 1]; the decoder gives logits.

  Grey values between 0 and 1 are taken as probabilities, as is usual: log_prob is then the negative
  cross entropy, no density of anything.
  """

  def log_prob(self, decoded: jax.Array, x: jax.Array) -> jax.Array:
    """[N, ...] and [N, ...] -> [N], nats, summed over the observation.

    Raises:
      ValueError: the shapes differ, or observations are bytes.
    """
    if x.dtype == jnp.uint8:
      raise ValueError("Bernoulli: observations are uint8; give values in [0, 1], such as x / 255")
    decoded, x = _pair("Bernoulli", decoded, x)
    return _summed(x * decoded - jax.nn.softplus(decoded))

  def mean(self, decoded: jax.Array) -> jax.Array:
    """The probabilities, in [0, 1]."""
    return jax.nn.sigmoid(decoded)


@dataclasses.dataclass(frozen=True)
class Gaussian:
  """Independent normal values of one standard deviation; the decoder gives their means.

  Raises:
    ValueError: the scale is not a positive, finite number.
  """

  scale: float = 1.0

  def __post_init__(self) -> None:
    scale = self.scale
    if not isinstance(scale, Real) or not math.isfinite(scale) or scale <= 0:
      raise ValueError(f"Gaussian: scale is {scale!r}; it must be a positive number")

  def log_prob(self, decoded: jax.Array, x: jax.Array) -> jax.Array:
    """[N, ...] and [N, ...] -> [N], nats, summed over the observation."""
    decoded, x = _pair("Gaussian", decoded, x)
    constant = math.log(self.scale) + 0.5 * math.log(2 * math.pi)
    return _summed(-0.5 * jnp.square((x - decoded) / self.scale) - constant)

  def mean(self, decoded: jax.Array) -> jax.Array:
    """The means."""
    return decoded


Likelihood = Bernoulli | Gaussian


def normal_kl(mu: jax.Array, logvar: jax.Array) -> jax.Array:
  """KL(N(mu, exp(logvar)) || N(0, 1)) of diagonal normals [..., D] -> [...], in nats.

  The closed form of Kingma and Welling (2014, arXiv 1312.6114, appendix B).
  """
  dtype = at_least_float32(mu.dtype, logvar.dtype)
  mu, logvar = mu.astype(dtype), logvar.astype(dtype)
  # expm1: near the standard normal exp(logvar) - 1 - logvar is the difference of equal numbers.
  return 0.5 * jnp.sum(jnp.square(mu) + (jnp.expm1(logvar) - logvar), axis=-1)


def _pair(name: str, decoded: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  if decoded.shape != x.shape:
    raise ValueError(
      f"{name}: observations are {list(x.shape)}, what was decoded is {list(decoded.shape)}"
    )
  dtype = at_least_float32(decoded.dtype, x.dtype)
  return decoded.astype(dtype), x.astype(dtype)


def _summed(values: jax.Array) -> jax.Array:
  return jnp.sum(values, axis=tuple(range(1, values.ndim)))
