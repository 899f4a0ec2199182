"""The margin losses of LossFunctions.jl (v1.2.2): eleven functions L of a = target * output.

    loss = DWDMarginLoss(q=1.0)              # frozen, hashable, static under jit
    loss(output, target)                     # elementwise, targets -1 or 1, the output's dtype
    loss.value(a), loss.deriv(a), loss.deriv2(a)

L(a), L'(a) and L''(a) are in each docstring, with the one-sided values that count at the kinks. A
kink that depends on a parameter is the float64 that Python computes, and agreements are compared
with it as the exact numbers they are: 0.9 in float32 lies below the kink 1 - 0.1.

Each docstring bounds the errors of L, L' and L'' in float32 in units in the last place (ulp) of the
true value, whatever the agreement. tests/losses/test_margin_accuracy.py enforces it on CPU, where
it was measured, and where XLA takes what lies below 2^-126 to be 0: such agreements, and results
below 2^-123 (DWD's L'': times q + 1). float16 and bfloat16 results err by at most 0.51 ulp, float64
by a relative 1e-14 (DWD 2e-13).
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.losses.margin_loss import MarginLoss, positive_number


@dataclass(frozen=True)
class ZeroOneLoss(MarginLoss):
  """1 if a < 0, else 0: the count of errors. L' = L'' = 0, at 0 as well.

  An output of 0 is right about both targets, so that this constant has no risk at all: as defined
  here the loss is not classification calibrated. Its gradients teach nothing.

  Errors in float32: none.
  """

  convex = False
  locally_lipschitz = False
  kinks = kinks2 = (0.0,)
  clip_at = 0.0
  classification_calibrated = False

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    return _steps(a, jnp.where(a < 0, 1, 0) if order == 0 else 0)


@dataclass(frozen=True)
class PerceptronLoss(MarginLoss):
  """max(0, -a), Rosenblatt's. L' = -1 if a < 0, else 0; L'' = 0.

  Errors in float32: none.
  """

  lipschitz = 1.0
  kinks = kinks2 = (0.0,)
  clip_at = 0.0
  classification_calibrated = False  # 0, of no sign, has the least risk whatever the targets

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    return _hinge(order, a, 0)


@dataclass(frozen=True)
class L1HingeLoss(MarginLoss):
  """max(0, 1 - a), of support vector machines. L' = -1 if a < 1, else 0; L'' = 0.

  Errors in float32: 0.5 ulp of L; none of L' and L''.
  """

  lipschitz = 1.0
  kinks = kinks2 = (1.0,)
  clip_at = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    return _hinge(order, a, 1)


HingeLoss = L1HingeLoss


@dataclass(frozen=True)
class SmoothedL1HingeLoss(MarginLoss):
  """max(0, 1 - a)^2 / (2 gamma) if a >= 1 - gamma, else 1 - gamma/2 - a: a hinge with a round kink.

  L' = (a - 1)/gamma between 1 - gamma and 1, -1 below, 0 above; L'' = 1/gamma on the closed
  interval [1 - gamma, 1], else 0. L1HingeLoss is its limit as gamma falls to 0.

  Errors in float32: 4 ulp of L; 3 of L'; 0.5 of L''.

  Raises:
    ValueError: gamma is no positive number in [1e-37, 1e37].
  """

  gamma: float

  lipschitz = 1.0
  kinks2 = property(lambda self: tuple(sorted({1 - self.gamma, 1.0})))
  clip_at = 1.0

  def __post_init__(self):
    object.__setattr__(self, "gamma", positive_number("SmoothedL1HingeLoss: gamma", self.gamma))

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    straight = _less(a, 1 - self.gamma)
    if order == 2:
      return _steps(a, jnp.where(straight | (a > 1), 0, 1 / self.gamma))
    below = jnp.minimum(a - 1, 0)
    if order == 1:
      return jnp.where(straight, -1, below * (1 / self.gamma))
    # Not (1 - gamma/2) - a, which cancels near the kink; and a square may leave float32's range.
    return jnp.where(straight, -below - 0.5 * self.gamma, below * (below * (0.5 / self.gamma)))


@dataclass(frozen=True)
class ModifiedHuberLoss(MarginLoss):
  """max(0, 1 - a)^2 if a >= -1, else -4a (Zhang 2004): 4 SmoothedL1HingeLoss(2).

  L' = -4 below -1, 2(a - 1) up to 1, then 0; L'' = 2 on the closed interval [-1, 1], else 0.

  Errors in float32: 2 ulp of L; 0.5 of L'; none of L''.
  """

  lipschitz = 4.0
  kinks2 = (-1.0, 1.0)
  clip_at = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    if order == 2:
      return _steps(a, jnp.where(jnp.abs(a) <= 1, 2, 0))
    below = jnp.minimum(a - 1, 0)
    return jnp.where(a < -1, -4 * a, below * below) if order == 0 else jnp.maximum(2 * below, -4)


@dataclass(frozen=True)
class DWDMarginLoss(MarginLoss):
  """1 - a if a <= t = q/(q+1), else (t/a)^q / (q+1): distance-weighted discrimination.

  L' = -1 up to t, then -(t/a)^(q+1); L'' = 0 up to t, then (q+1)^2/q (t/a)^(q+2). q = 1 is the
  classical loss of Marron, Todd & Ahn (2007), 1/(4a) beyond 1/2; L1HingeLoss is the limit as q
  grows (Wang & Zou 2018).

  Errors in float32: 4 ulp of L, L' and L'' where float32 holds q; else 48, for q is rounded.

  Raises:
    ValueError: q is no positive number in [1e-37, 1e37].
  """

  q: float

  lipschitz = 1.0
  # Below 1, where q/(q+1) may be rounded to 1: no float64 lies between.
  kinks2 = property(lambda self: (min(self.q / (self.q + 1), math.nextafter(1, 0)),))

  def __post_init__(self):
    object.__setattr__(self, "q", positive_number("DWDMarginLoss: q", self.q))

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    straight = _less(a, math.nextafter(self.kinks2[0], math.inf))
    at_one = math.exp(-self.q * math.log1p(1 / self.q)) / (self.q + 1)  # L(1)
    power = a**-self.q  # and not (t/a)^q, whose exponent multiplies the error of t/a
    if order == 0:
      return jnp.where(straight, 1 - a, at_one * power)
    slope = self.q * at_one * (power / a)
    if order == 1:
      return jnp.where(straight, -1, -slope)
    return jnp.where(straight, 0, slope * ((self.q + 1) / a))

  def third(self, a: jax.Array) -> jax.Array:
    curvature = self.formula(2, a)
    return jnp.where(curvature > 0, -(self.q + 2) / a * curvature, 0)


@dataclass(frozen=True)
class L2MarginLoss(MarginLoss):
  """(1 - a)^2, least squares. L' = 2(a - 1), L'' = 2.

  Errors in float32: 2 ulp of L; 0.5 of L'; none of L''.
  """

  strictly_convex = True
  strongly_convex = True
  clip_at = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    return (jnp.square(a - 1), 2 * (a - 1), _steps(a, 2))[order]


@dataclass(frozen=True)
class L2HingeLoss(MarginLoss):
  """max(0, 1 - a)^2, the squared hinge. L' = 2(a - 1) if a < 1, else 0; L'' = 2 if a < 1, else 0.

  Errors in float32: 2 ulp of L; 0.5 of L'; none of L''.
  """

  kinks2 = (1.0,)
  clip_at = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    below = jnp.minimum(a - 1, 0)
    return (jnp.square(below), 2 * below, _steps(a, jnp.where(a < 1, 2, 0)))[order]


@dataclass(frozen=True)
class SigmoidLoss(MarginLoss):
  """1 - tanh(a) = 2 sigmoid(-2a), in (0, 2). L' = -sech(a)^2, L'' = 2 tanh(a) sech(a)^2.

  Neither the sigmoid 1/(1 + e^a) itself nor the loss of SigLIP. Not convex.

  Errors in float32: 4 ulp of L and L'; 8 of L''.
  """

  convex = False
  lipschitz = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    right = 2 * jax.nn.sigmoid(-2 * jnp.abs(a))  # L and L' share it; 2 - right cannot cancel
    if order == 0:
      return jnp.where(a < 0, 2 - right, right)
    sech2 = right * (2 - right)
    return -sech2 if order == 1 else 2 * jnp.tanh(a) * sech2

  def third(self, a: jax.Array) -> jax.Array:
    sech2 = -self.formula(1, a)
    return 2 * sech2 * (3 * sech2 - 2)


@dataclass(frozen=True)
class LogitMarginLoss(MarginLoss):
  """log(1 + e^-a), logistic regression; of a difference of scores, BPR (Rendle et al. 2009).

  L' = -1/(1 + e^a), L'' = e^a/(1 + e^a)^2.

  Errors in float32: 4 ulp of L and L'; 5 of L''.
  """

  strictly_convex = True
  lipschitz = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    t = jnp.exp(-jnp.abs(a))  # L and L' share it
    if order == 0:
      return jnp.maximum(-a, 0) + jnp.log1p(t)
    return -jnp.where(a < 0, 1, t) / (1 + t) if order == 1 else t / jnp.square(1 + t)

  def third(self, a: jax.Array) -> jax.Array:
    return -self.formula(2, a) * jnp.tanh(a / 2)


@dataclass(frozen=True)
class ExpLoss(MarginLoss):
  """e^-a, of AdaBoost. L' = -e^-a, L'' = e^-a; in float32 infinite below -88.7.

  Errors in float32: 8 ulp of L, L' and L''.
  """

  strictly_convex = True

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    return -jnp.exp(-a) if order == 1 else jnp.exp(-a)

  def third(self, a: jax.Array) -> jax.Array:
    return -jnp.exp(-a)


def _hinge(order: int, a: jax.Array, kink: float) -> jax.Array:
  """max(0, kink - a) or one of its derivatives."""
  if order == 0:
    return jnp.where(a >= kink, 0, kink - a)  # faster than a maximum, which XLA fuses into sums
  return _steps(a, jnp.where(a < kink, -1, 0) if order == 1 else 0)


def _steps(a: jax.Array, values: jax.Array | float) -> jax.Array:
  """Piecewise constant values in a's dtype, NaN where the agreement is."""
  return jnp.where(jnp.isnan(a), a, jnp.asarray(values, a.dtype))


def _less(a: jax.Array, bound: float) -> jax.Array:
  """a < bound as exact numbers: the bound is rounded up to a's dtype."""
  near = np.asarray(bound, a.dtype)
  return a < (near if float(near) >= bound else np.nextafter(near, np.asarray(np.inf, a.dtype)))
