"""Likelihoods of bytes: probabilities, not densities, so that their bits are bits that can be sent.

    likelihood = DiscretizedLogistic()
    decoded = ...                             # [N, ..., likelihood.outputs(C)], by a decoder
    likelihood.log_prob(decoded, images)      # [N], nats, for bytes [N, ..., C]
    likelihood.mean(decoded)                  # [N, ..., C] in [0, 1]: what a person looks at

Shapes: N observations, ... of one observation, C channels.
"""

import dataclasses

import jax
import jax.numpy as jnp

from vqlab.nn.dtypes import at_least_float32

# The least is PixelCNN++'s; the most leaves next to nothing for any byte but 0 and 255.
_LOG_SCALES = (-7.0, 7.0)


@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic:
  """Every byte a logistic variable that is cut into 256 parts; the decoder gives 2C channels.

  Those are the C locations, then the C logarithms of scales, for bytes brought to [-1, 1]; the
  outermost parts have the tails, so that all 256 sum to 1. Kingma et al. 2016 (arXiv 1606.04934),
  with the least scale of PixelCNN++ (Salimans et al. 2017, arXiv 1701.05517).
  """

  def outputs(self, channels: int) -> int:
    """Channels of the decoder for C of the observation."""
    return 2 * channels

  def log_probs(self, decoded: jax.Array, x: jax.Array) -> jax.Array:
    """[N, ..., 2C] and bytes [N, ..., C] -> log-probabilities [N, ..., C] in nats.

    Raises:
      ValueError: the shapes do not agree, or x are no integers.
    """
    decoded, x = _checked("DiscretizedLogistic", decoded, x, 2)
    location, log_scale = jnp.split(decoded, 2, axis=-1)
    log_scale = jnp.clip(log_scale, *_LOG_SCALES)
    distance = (x.astype(decoded.dtype) / 127.5 - 1 - location) * jnp.exp(-log_scale)
    half = jnp.exp(-log_scale) / 255
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), no factor of which cancels.
    below, above = jax.nn.log_sigmoid(distance + half), jax.nn.log_sigmoid(half - distance)
    within = below + above + jnp.log(-jnp.expm1(-2 * half))
    return jnp.where(x == 0, below, jnp.where(x == 255, above, within))

  def log_prob(self, decoded: jax.Array, x: jax.Array) -> jax.Array:
    """The sum of `log_probs` over each observation: [N]."""
    return _summed(self.log_probs(decoded, x))

  def mean(self, decoded: jax.Array) -> jax.Array:
    """The locations, brought to [0, 1]: the medians."""
    location, _ = jnp.split(decoded, 2, axis=-1)
    return jnp.clip((location + 1) / 2, 0, 1)


@dataclasses.dataclass(frozen=True)
class CategoricalBytes:
  """Every byte by logits of its own; the decoder gives 256 C channels, a channel's together."""

  def outputs(self, channels: int) -> int:
    """Channels of the decoder for C of the observation."""
    return 256 * channels

  def log_probs(self, decoded: jax.Array, x: jax.Array) -> jax.Array:
    """[N, ..., 256 C] and bytes [N, ..., C] -> log-probabilities [N, ..., C] in nats.

    Raises:
      ValueError: the shapes do not agree, or x are no integers.
    """
    decoded, x = _checked("CategoricalBytes", decoded, x, 256)
    log_p = jax.nn.log_softmax(decoded.reshape(*x.shape, 256))
    return jnp.take_along_axis(log_p, x[..., None], axis=-1)[..., 0]

  def log_prob(self, decoded: jax.Array, x: jax.Array) -> jax.Array:
    """The sum of `log_probs` over each observation: [N]."""
    return _summed(self.log_probs(decoded, x))

  def mean(self, decoded: jax.Array) -> jax.Array:
    """The expected bytes, brought to [0, 1]."""
    decoded = decoded.astype(at_least_float32(decoded.dtype))
    p = jax.nn.softmax(decoded.reshape(*decoded.shape[:-1], -1, 256))
    return p @ jnp.linspace(0, 1, 256, dtype=p.dtype)


ByteLikelihood = DiscretizedLogistic | CategoricalBytes


def _checked(
  name: str, decoded: jax.Array, x: jax.Array, outputs: int
) -> tuple[jax.Array, jax.Array]:
  x = jnp.asarray(x)
  if not jnp.issubdtype(x.dtype, jnp.integer):
    raise ValueError(f"{name}: observations are {x.dtype}; give bytes, integers from 0 to 255")
  expected = (*x.shape[:-1], outputs * x.shape[-1])
  if decoded.shape != expected:
    raise ValueError(
      f"{name}: observations {list(x.shape)} need {list(expected)} decoded, {outputs} channels for "
      f"each of theirs; found {list(decoded.shape)}"
    )
  return decoded.astype(at_least_float32(decoded.dtype)), x.astype(jnp.int32)


def _summed(values: jax.Array) -> jax.Array:
  return jnp.sum(values, axis=tuple(range(1, values.ndim)))
