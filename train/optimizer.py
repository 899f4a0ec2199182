"""Optimizers: their fields, and the Optax transformations they make."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from train.config import Optimizer
from train.fields import field


def schedule_of(config: Optimizer, steps: int) -> optax.ScalarOrSchedule:
  """The learning rate over a stage's steps."""
  rate, warmup = config.learning_rate, config.warmup_steps
  left = max(steps - warmup, 1)
  whole = optax.cosine_decay_schedule(rate, steps)
  after = {
    "constant": lambda: optax.constant_schedule(rate) if warmup else rate,
    "cosine": lambda: optax.cosine_decay_schedule(rate, left),
    "whole_cosine": lambda: lambda step: whole(step + warmup),
    "linear": lambda: optax.linear_schedule(rate, 0.0, left),
    "step": lambda: optax.piecewise_constant_schedule(
      rate, {round(part * steps) - warmup: config.decay_by for part in config.decay_at}
    ),
  }[config.schedule]()
  if not warmup:
    return after
  top = float(whole(min(warmup, steps))) if config.schedule == "whole_cosine" else rate
  rising = optax.linear_schedule(config.warmup_from, top, warmup)
  return optax.join_schedules([rising, after], [warmup])


def outside_norms(params: Any) -> Any:
  """True for every leaf that is not the scale or the bias of a norm."""
  if not isinstance(params, Mapping):
    return jax.tree.map(lambda _: True, params)
  if params.keys() <= {"scale", "bias"}:
    return jax.tree.map(lambda _: False, params)
  return {k: outside_norms(v) for k, v in params.items()}


@dataclasses.dataclass(frozen=True)
class Adam(Optimizer):
  """Adam (arXiv 1412.6980)."""

  b1: float = field(0.9, least=0, most=1)
  """Decay of the mean of the gradients."""
  b2: float = field(0.999, least=0, most=1)
  """Decay of the mean of their squares."""

  def make(self, steps: int) -> optax.GradientTransformation:
    return optax.adamw(schedule_of(self, steps), self.b1, self.b2, weight_decay=0.0)


@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
  """Adam with decoupled weight decay (arXiv 1711.05101)."""

  weight_decay: float = field(1e-2, least=0)
  """Times the learning rate, off every weight a step."""

  def make(self, steps: int) -> optax.GradientTransformation:
    rate = schedule_of(self, steps)
    return optax.adamw(rate, self.b1, self.b2, weight_decay=self.weight_decay)


def matrices(params: Any) -> Any:
  """How every leaf is a matrix, or a stack of them, for Muon; None for one that is not.

  Kernels map all axes but the last to that; of others of three axes or more, which stack layers,
  the last two are the matrix. Embeddings, biases and scales are none.
  """

  def one(path: tuple, leaf: Any) -> MuonDimensionNumbers | None:
    last = leaf.ndim - 1
    if getattr(path[-1], "key", "") == "kernel":
      return MuonDimensionNumbers(tuple(range(last)), last)
    return MuonDimensionNumbers(last - 1, last) if leaf.ndim >= 3 else None

  return jax.tree_util.tree_map_with_path(one, params)


@dataclasses.dataclass(frozen=True)
class Muon(Optimizer):
  """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum of which every
  matrix is made orthogonal. Embeddings, biases and scales learn by Adam."""

  learning_rate: float = field(0.01, least=0)
  """The learning rate after the warm-up."""
  adam: float = field(0.1, least=0)
  """Times that is the learning rate of Adam."""
  momentum: float = field(0.95, least=0, most=1)
  """Decay of the mean of the gradients."""

  def make(self, steps: int) -> optax.GradientTransformation:
    rate = schedule_of(self, steps)
    of_adam = (lambda step: self.adam * rate(step)) if callable(rate) else self.adam * rate
    return muon(
      rate,
      beta=self.momentum,
      adam_learning_rate=of_adam,
      muon_weight_dimension_numbers=matrices,
    )


@dataclasses.dataclass(frozen=True)
class SGD(Optimizer):
  """Stochastic gradient descent."""

  learning_rate: float = field(0.1, least=0)
  """The learning rate after the warm-up."""
  momentum: float = field(0.9, least=0, most=1)
  """Decay of the sum of the gradients; 0: none is kept."""
  nesterov: bool = field(False)
  """Look ahead by the momentum (Nesterov's)."""
  weight_decay: float = field(0.0, least=0)
  """Times the weights, added to their gradient."""
  decay_norms: bool = field(True)
  """Whether that is done to scales and biases of norms as well."""

  def make(self, steps: int) -> optax.GradientTransformation:
    descent = optax.sgd(schedule_of(self, steps), self.momentum or None, self.nesterov)
    if not self.weight_decay:
      return descent
    mask = None if self.decay_norms else outside_norms
    return optax.chain(optax.add_decayed_weights(self.weight_decay, mask), descent)
