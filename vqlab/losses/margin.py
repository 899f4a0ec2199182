"""The margin losses of LossFunctions.jl (v1.2.2): eleven functions L of a = target * output.

    loss = DWDMarginLoss(q=1.0)              # frozen, hashable, static under jit
    loss(output, target)                     # elementwise, targets -1 or 1, the output's dtype
    loss.value(a), loss.deriv(a), loss.deriv2(a)

L(a), L'(a) and L''(a) are in each docstring, with the one-sided values that count at the kinks. A
kink that depends on a parameter is the float64 that Python computes, and agreements are compared
with it as the exact numbers they are: 0.9 in float32 lies below the kink 1 - 0.1.

Each docstring bounds the errors of L, L' and L'' in float32 in units in the last place (ulp) of the
true value, whatever the agreement; 0.5 is correct rounding. tests/losses/test_margin_accuracy.py
enforces it on CPU, where it was measured. Results below 2^-126 may be 0, as XLA flushes them.
float16 and bfloat16 results err by at most 0.51 ulp, float64 by a relative 1e-14 (DWD 2e-13).
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vqlab.losses import double_float as df
from vqlab.losses.margin_loss import MarginLoss, positive_number

_INF = math.inf
_FLAT = (0.0, 0.0)  # both limits of a derivative that vanishes


@dataclass(frozen=True)
class ZeroOneLoss(MarginLoss):
  """1 if a < 0, else 0: the count of errors. L' = L'' = 0, at 0 as well.

  An output of 0 is right about both targets, so that this constant has no risk at all: as defined
  here the loss is not classification calibrated. Its gradients teach nothing.

  Errors in float32: none.
  """

  limits = ((1, 0), _FLAT, _FLAT)
  convex = False
  locally_lipschitz = False
  kinks = kinks2 = (0.0,)
  clip_at = 0.0
  classification_calibrated = False

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    if order == 0:
      return jnp.where(df.at_least(a, 0), 0, jnp.ones_like(a))
    return jnp.zeros_like(a)


@dataclass(frozen=True)
class PerceptronLoss(MarginLoss):
  """max(0, -a), Rosenblatt's. L' = -1 if a < 0, else 0; L'' = 0.

  Errors in float32: none.
  """

  limits = ((_INF, 0), (-1, 0), _FLAT)
  lipschitz = 1.0
  kinks = kinks2 = (0.0,)
  clip_at = 0.0
  classification_calibrated = False  # 0, of no sign, has the least risk whatever the targets

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    return _hinge(order, df.at_least(a, 0), -a)


@dataclass(frozen=True)
class L1HingeLoss(MarginLoss):
  """max(0, 1 - a), of support vector machines. L' = -1 if a < 1, else 0; L'' = 0.

  Errors in float32: 0.5 ulp of L; none of L' and L''.
  """

  limits = ((_INF, 0), (-1, 0), _FLAT)
  lipschitz = 1.0
  kinks = kinks2 = (1.0,)
  clip_at = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    return _hinge(order, df.at_least(a, 1), 1 - a)


HingeLoss = L1HingeLoss


@dataclass(frozen=True)
class SmoothedL1HingeLoss(MarginLoss):
  """max(0, 1 - a)^2 / (2 gamma) if a >= 1 - gamma, else 1 - gamma/2 - a: a hinge with a round kink.

  L' = (a - 1)/gamma between 1 - gamma and 1, -1 below, 0 above; L'' = 1/gamma on the closed
  interval [1 - gamma, 1], else 0. L1HingeLoss is its limit as gamma falls to 0.

  Errors in float32: 0.51 ulp of L and L'; 0.5 of L''.

  Raises:
    ValueError: gamma is no positive number in [1e-37, 1e37].
  """

  gamma: float

  limits = ((_INF, 0), (-1, 0), _FLAT)
  lipschitz = 1.0
  kinks2 = property(lambda self: tuple(sorted({1 - self.gamma, 1.0})))
  clip_at = 1.0

  def __post_init__(self):
    object.__setattr__(self, "gamma", positive_number("SmoothedL1HingeLoss: gamma", self.gamma))

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    bent, flat = df.at_least(a, 1 - self.gamma), df.at_least(a, 1)
    if order == 2:
      return jnp.where(bent & df.at_most(a, 1), jnp.asarray(1 / self.gamma, a.dtype), 0)
    gap = _one_minus(jnp.where(bent & ~flat, a, 1))
    # The powers of two apart: neither the square nor the quotient may leave float32's range.
    high, n = df.split(jnp.where(flat, 1, gap.high))
    gap = df.Pair(high, df.scale(gap.low, -n))
    mantissa, exponent = math.frexp(self.gamma)
    if order == 1:
      slope = df.rounded(df.divide(gap, df.constant(mantissa, a)))
      return jnp.where(bent, jnp.where(flat, 0, -df.scale(slope, n - exponent)), -1)
    square = df.divide(df.multiply(gap, gap), df.constant(2 * mantissa, a))
    curve = df.scale(df.rounded(square), 2 * n - exponent)
    hinge = _one_minus(a)  # and a choice after it, or XLA adds up the 1 and -gamma/2, rounding
    hinge = df.Pair(jnp.where(bent, 1, hinge.high), hinge.low)
    straight = df.rounded(df.add(hinge, df.constant(-self.gamma / 2, a)))
    return jnp.where(bent, jnp.where(flat, 0, curve), straight)


@dataclass(frozen=True)
class ModifiedHuberLoss(MarginLoss):
  """max(0, 1 - a)^2 if a >= -1, else -4a (Zhang 2004): 4 SmoothedL1HingeLoss(2).

  L' = -4 below -1, 2(a - 1) up to 1, then 0; L'' = 2 on the closed interval [-1, 1], else 0.

  Errors in float32: 1 ulp of L; 0.5 of L'; none of L''.
  """

  limits = ((_INF, 0), (-4, 0), _FLAT)
  lipschitz = 4.0
  kinks2 = (-1.0, 1.0)
  clip_at = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    bent = df.at_least(a, -1)
    if order == 2:
      return jnp.where(bent & df.at_most(a, 1), 2, jnp.zeros_like(a))
    return jnp.where(bent, _squared_hinge(order, jnp.minimum(a, 1)), -4 * a if order == 0 else -4)


@dataclass(frozen=True)
class DWDMarginLoss(MarginLoss):
  """1 - a if a <= t = q/(q+1), else (t/a)^q / (q+1): distance-weighted discrimination.

  L' = -1 up to t, then -(t/a)^(q+1); L'' = 0 up to t, then (q+1)^2/q (t/a)^(q+2). q = 1 is the
  classical loss of Marron, Todd & Ahn (2007), 1/(4a) beyond 1/2; L1HingeLoss is the limit as q
  grows (Wang & Zou 2018).

  Errors in float32: 0.8 ulp of L, L' and L'', whatever q.

  Raises:
    ValueError: q is no positive number in [1e-37, 1e37].
  """

  q: float

  limits = ((_INF, 0), (-1, 0), _FLAT)
  lipschitz = 1.0
  # Below 1, where q/(q+1) may be rounded to 1: no float64 lies between.
  kinks2 = property(lambda self: (min(self.q / (self.q + 1), math.nextafter(1, 0)),))

  def __post_init__(self):
    object.__setattr__(self, "q", positive_number("DWDMarginLoss: q", self.q))

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    straight = df.at_most(a, self.kinks2[0])
    safe = jnp.where(straight, 1, a)
    # log of the coefficient and (t/a)^(q + order) in pairs: their sum is small where they are not.
    # Beyond 1e30, q only matters at a = 1, where log a is 0.
    power = df.constant(min(self.q, 1e30) + order, a)
    logarithm = df.multiply(power, df.log(safe))
    exponent = df.add(df.negative(logarithm), df.constant(self._log_coefficient(order), a))
    mantissa, n = df.exp(exponent)
    curve = df.scale(df.rounded(mantissa), n)
    if order == 0:
      return jnp.where(straight, 1 - a, curve)
    return jnp.where(straight, -1, -curve) if order == 1 else jnp.where(straight, 0, curve)

  def third(self, a: jax.Array) -> jax.Array:
    straight = df.at_most(a, self.kinks2[0])
    safe = jnp.where(straight, 1, a)
    power = min(self.q, 1e30) + 2
    curve = jnp.exp(self._log_coefficient(2) - power * jnp.log(safe))
    return jnp.where(straight, 0, -power / safe * curve)

  def _log_coefficient(self, order: int) -> float:
    """The logarithm of |L|, |L'| or |L''| at the agreement 1."""
    log_scale = (-math.log1p(self.q), 0.0, 2 * math.log1p(self.q) - math.log(self.q))[order]
    return log_scale - (self.q + order) * math.log1p(1 / self.q)


@dataclass(frozen=True)
class L2MarginLoss(MarginLoss):
  """(1 - a)^2, least squares. L' = 2(a - 1), L'' = 2.

  Errors in float32: 1 ulp of L; 0.5 of L'; none of L''.
  """

  limits = ((_INF, _INF), (-_INF, _INF), (2, 2))
  strictly_convex = True
  strongly_convex = True
  clip_at = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    return jnp.full_like(a, 2) if order == 2 else _squared_hinge(order, a)


@dataclass(frozen=True)
class L2HingeLoss(MarginLoss):
  """max(0, 1 - a)^2, the squared hinge. L' = 2(a - 1) if a < 1, else 0; L'' = 2 if a < 1, else 0.

  Errors in float32: 1 ulp of L; 0.5 of L'; none of L''.
  """

  limits = ((_INF, 0), (-_INF, 0), (2, 0))
  kinks2 = (1.0,)
  clip_at = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    if order == 2:
      return jnp.where(df.at_least(a, 1), 0, jnp.full_like(a, 2))
    return _squared_hinge(order, jnp.minimum(a, 1))


@dataclass(frozen=True)
class SigmoidLoss(MarginLoss):
  """1 - tanh(a) = 2 sigmoid(-2a), in (0, 2). L' = -sech(a)^2, L'' = 2 tanh(a) sech(a)^2.

  Neither the sigmoid 1/(1 + e^a) itself nor the loss of SigLIP. Not convex.

  Errors in float32: 0.7 ulp of L and L'; 0.8 of L''.
  """

  limits = ((2, 0), _FLAT, _FLAT)
  convex = False
  lipschitz = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    x = -2 * jnp.minimum(jnp.abs(a), 400)
    t, n, plus_one = _exp_and_plus_one(x)
    if order == 0:
      right = df.scale(df.rounded(df.divide(_times(t, 2), plus_one)), n)
      return jnp.where(a < 0, df.rounded(df.divide(_times(_one(a), 2), plus_one)), right)
    sech2 = df.divide(_times(t, 4), df.multiply(plus_one, plus_one))
    if order == 1:
      return -df.scale(df.rounded(sech2), n)
    tanh = df.divide(df.negative(df.expm1(_pair(jnp.maximum(x, -40)))), plus_one)
    curvature = df.scale(df.rounded(_times(df.multiply(tanh, sech2), 2)), n)
    near = jnp.abs(a) < 2.0**-30  # where it is 2a to the last place, a subnormal number or not
    return jnp.where(near, df.doubled(a), jnp.sign(a) * curvature)

  def third(self, a: jax.Array) -> jax.Array:
    sech2 = 4 * jax.nn.sigmoid(2 * a) * jax.nn.sigmoid(-2 * a)
    return 2 * sech2 * (3 * sech2 - 2)


@dataclass(frozen=True)
class LogitMarginLoss(MarginLoss):
  """log(1 + e^-a), logistic regression; of a difference of scores, BPR (Rendle et al. 2009).

  L' = -1/(1 + e^a), L'' = e^a/(1 + e^a)^2.

  Errors in float32: 0.7 ulp of L, L' and L''.
  """

  limits = ((_INF, 0), (-1, 0), _FLAT)
  strictly_convex = True
  lipschitz = 1.0

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    t, n, plus_one = _exp_and_plus_one(-jnp.abs(a))
    if order == 0:
      # log(1 + t) = 2 atanh(s) with s = t/(2 + t)
      s = df.divide(t, df.add(plus_one, _one(a)))
      ratio = df.atanh_ratio(df.Pair(df.scale(s.high, n), df.scale(s.low, n)))
      log1p = _times(df.multiply(s, ratio), 2)
      right = df.scale(df.rounded(log1p), n)
      log1p = df.Pair(df.scale(log1p.high, n), df.scale(log1p.low, n))
      return jnp.where(a < 0, df.rounded(df.add(_pair(jnp.maximum(-a, 0)), log1p)), right)
    if order == 1:
      right = df.scale(df.rounded(df.divide(t, plus_one)), n)
      return -jnp.where(a < 0, df.rounded(df.divide(_one(a), plus_one)), right)
    return df.scale(df.rounded(df.divide(t, df.multiply(plus_one, plus_one))), n)

  def third(self, a: jax.Array) -> jax.Array:
    return -jax.nn.sigmoid(a) * jax.nn.sigmoid(-a) * jnp.tanh(a / 2)


@dataclass(frozen=True)
class ExpLoss(MarginLoss):
  """e^-a, of AdaBoost. L' = -e^-a, L'' = e^-a; in float32 infinite below -88.7.

  Errors in float32: 0.7 ulp of L, L' and L''.
  """

  limits = ((_INF, 0), (-_INF, 0), (_INF, 0))
  strictly_convex = True

  def formula(self, order: int, a: jax.Array) -> jax.Array:
    mantissa, n = df.exp(_pair(-a))
    power = df.scale(df.rounded(mantissa), n)
    return -power if order == 1 else power

  def third(self, a: jax.Array) -> jax.Array:
    return -jnp.exp(-a)


def _hinge(order: int, flat: jax.Array, gap: jax.Array) -> jax.Array:
  """max(0, gap) or one of its derivatives; 0 where it is flat."""
  if order == 0:
    return jnp.where(flat, 0, gap)
  return jnp.where(flat, 0, -jnp.ones_like(gap)) if order == 1 else jnp.zeros_like(gap)


def _squared_hinge(order: int, a: jax.Array) -> jax.Array:
  """(1 - a)^2 or its derivative."""
  gap = _one_minus(a)
  if order == 1:
    return -2 * gap.high
  square = gap.high * gap.high  # and what was lost of 1 - a, where there is anything to correct
  return jnp.where(jnp.isfinite(square), square + gap.high * (2 * gap.low), square)


def _exp_and_plus_one(x: jax.Array) -> tuple[df.Pair, jax.Array, df.Pair]:
  """(t, n, 1 + t 2^n) with exp(x) = t 2^n, for x <= 0."""
  t, n = df.exp(_pair(x))
  return t, n, df.add(df.Pair(df.scale(t.high, n), df.scale(t.low, n)), _one(x))


def _one_minus(a: jax.Array) -> df.Pair:
  return df.two_sum(-a, jnp.ones_like(a))


def _pair(x: jax.Array) -> df.Pair:
  return df.Pair(x, jnp.zeros_like(x))


def _one(a: jax.Array) -> df.Pair:
  return _pair(jnp.ones_like(a))


def _times(x: df.Pair, factor: float) -> df.Pair:
  """A pair times a power of two."""
  return df.Pair(x.high * factor, x.low * factor)
