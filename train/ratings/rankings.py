"""Losses of what a user took against what was drawn of the rest, as parts of configs."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from train.fields import field
from vqlab import losses


@dataclasses.dataclass(frozen=True)
class Ranking:
  """What every loss has."""

  cosine: ClassVar[bool] = False  # whether scores are cosines; products otherwise

  def loss(self, positive: jax.Array, negatives: jax.Array) -> jax.Array:
    """f[B] of the scores of what was taken, f[B], and of what was not, f[B, K]."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Margin(Ranking):
  """A margin loss of how far the one score is above the other; BPR's is the logistic one."""

  kind: Literal[
    "LogitMarginLoss",
    "L1HingeLoss",
    "L2HingeLoss",
    "SmoothedL1HingeLoss",
    "ModifiedHuberLoss",
    "L2MarginLoss",
    "ExpLoss",
    "SigmoidLoss",
    "DWDMarginLoss",
  ] = field("LogitMarginLoss")
  """The loss, as vqlab.losses names it."""
  parameter: float = field(1.0, least=1e-6)
  """gamma of SmoothedL1HingeLoss, q of DWDMarginLoss."""
  scale: float = field(1.0, least=1e-6)
  """What the difference is multiplied by."""

  def loss(self, positive: jax.Array, negatives: jax.Array) -> jax.Array:
    has_parameter = self.kind in ("SmoothedL1HingeLoss", "DWDMarginLoss")
    kind = getattr(losses, self.kind)(*[self.parameter] * has_parameter)
    each = losses.pairwise(kind, self.scale * positive[:, None], self.scale * negatives)
    return jnp.mean(each, axis=1)


@dataclasses.dataclass(frozen=True)
class SampledSoftmax(Ranking):
  """The cross entropy of what was taken among itself and what was not."""

  temperature: float = field(1.0, least=1e-6)
  """What scores are divided by."""

  def loss(self, positive: jax.Array, negatives: jax.Array) -> jax.Array:
    return losses.sampled_softmax(positive / self.temperature, negatives / self.temperature)


@dataclasses.dataclass(frozen=True)
class CosineContrastive(Ranking):
  """SimpleX's loss of cosines (arXiv 2109.12613)."""

  margin: float = field(0.9, least=-1, most=1)
  """Cosines below it count for nothing among what was not taken."""
  weight: float = field(150.0, least=0)
  """Of what was not taken."""

  cosine = True

  def loss(self, positive: jax.Array, negatives: jax.Array) -> jax.Array:
    return losses.cosine_contrastive(positive, negatives, margin=self.margin, weight=self.weight)
