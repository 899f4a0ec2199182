"""Optimizers: their fields, and the Optax transformations they make."""

import dataclasses

import optax

from train.config import Optimizer
from train.fields import field


def schedule_of(config: Optimizer, steps: int) -> optax.ScalarOrSchedule:
  """The learning rate over a stage's steps."""
  rate, warmup = config.learning_rate, config.warmup_steps
  left = max(steps - warmup, 1)
  after = {
    "constant": lambda: optax.constant_schedule(rate) if warmup else rate,
    "cosine": lambda: optax.cosine_decay_schedule(rate, left),
    "linear": lambda: optax.linear_schedule(rate, 0.0, left),
    "step": lambda: optax.piecewise_constant_schedule(
      rate, {round(part * steps) - warmup: config.decay_by for part in config.decay_at}
    ),
  }[config.schedule]()
  if not warmup:
    return after
  return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup])


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

  def make(self, steps: int) -> optax.GradientTransformation:
    descent = optax.sgd(schedule_of(self, steps), self.momentum or None, self.nesterov)
    if not self.weight_decay:
      return descent
    return optax.chain(optax.add_decayed_weights(self.weight_decay), descent)
