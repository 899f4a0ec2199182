"""The margin losses again, from their definitions and in NumPy's widest floats, and grids.

Nothing here is shared with vqlab: branches by np.where, no special forms but those without which 64
bits would cancel.
"""

import fractions

import numpy as np

from vqlab import losses

WIDE = np.longdouble

# Every loss, with parameters from ordinary to extreme.
PLAIN = [
  losses.ZeroOneLoss(),
  losses.PerceptronLoss(),
  losses.L1HingeLoss(),
  losses.ModifiedHuberLoss(),
  losses.L2MarginLoss(),
  losses.L2HingeLoss(),
  losses.SigmoidLoss(),
  losses.LogitMarginLoss(),
  losses.ExpLoss(),
]
USUAL = [
  *PLAIN,
  losses.SmoothedL1HingeLoss(0.5),
  losses.SmoothedL1HingeLoss(2.0),
  losses.DWDMarginLoss(1.0),
  losses.DWDMarginLoss(2.5),
]
EXTREME = [
  *map(losses.SmoothedL1HingeLoss, (0.1, 1e-3, 1e-6, 3e-8, 1e5, 1e-37, 1e37)),
  *map(losses.SmoothedL1HingeLoss, (0.7, 1.7)),
  *map(losses.DWDMarginLoss, (0.01, 150.0, 1e7, 7.4e8, 1e16, 1e30, 1e-37)),
  *map(losses.DWDMarginLoss, (0.3, 2.7, 149.3)),  # which float32 does not hold
]


def truths(loss, a):
  """L, L' and L'' at agreements of any dtype, taken as the exact numbers they are."""
  a = np.asarray(a, np.float64).astype(WIDE)
  with np.errstate(all="ignore"):
    return [np.asarray(values, WIDE) for values in globals()[f"_{type(loss).__name__}"](loss, a)]


def truth(loss, order, a):
  return truths(loss, a)[order]


def _ZeroOneLoss(loss, a):
  return np.where(a < 0, 1.0, 0.0), 0 * a, 0 * a


def _PerceptronLoss(loss, a):
  return np.where(a < 0, -a, 0), np.where(a < 0, -1.0, 0), 0 * a


def _L1HingeLoss(loss, a):
  return np.where(a < 1, 1 - a, 0), np.where(a < 1, -1.0, 0), 0 * a


def _SmoothedL1HingeLoss(loss, a):
  gamma, kink = WIDE(loss.gamma), WIDE(1 - loss.gamma)
  regions = [a >= 1, a >= kink]
  return (
    np.select(regions, [0 * a, (1 - a) * ((1 - a) / (2 * gamma))], (1 - a) - gamma / 2),
    np.select(regions, [0 * a, (a - 1) / gamma], -1 + 0 * a),
    np.where((kink <= a) & (a <= 1), 1 / gamma, 0),
  )


def _ModifiedHuberLoss(loss, a):
  regions = [a > 1, a >= -1]
  return (
    np.select(regions, [0 * a, (1 - a) ** 2], -4 * a),
    np.select(regions, [0 * a, 2 * a - 2], -4 + 0 * a),
    np.where((a >= -1) & (a <= 1), 2.0, 0),
  )


def _DWDMarginLoss(loss, a):
  # The exact kink as a float64, none of which lies between 1 and a kink that is rounded to it.
  exact = fractions.Fraction(loss.q) / (fractions.Fraction(loss.q) + 1)
  q, kink = WIDE(loss.q), WIDE(min(float(exact), 1 - 2.0**-53))
  log_ratio = -np.log1p(1 / q) - np.log(np.where(a > kink, a, 1))
  return (
    np.where(a <= kink, 1 - a, np.exp(q * log_ratio) / (q + 1)),
    np.where(a <= kink, -1, -np.exp((q + 1) * log_ratio)),
    np.where(a <= kink, 0, (q + 1) ** 2 / q * np.exp((q + 2) * log_ratio)),
  )


def _L2MarginLoss(loss, a):
  return (1 - a) ** 2, 2 * (a - 1), 2 + 0 * a


def _L2HingeLoss(loss, a):
  return np.where(a < 1, (1 - a) ** 2, 0), np.where(a < 1, 2 * (a - 1), 0), np.where(a < 1, 2.0, 0)


def _SigmoidLoss(loss, a):
  sech2 = 4 / ((1 + np.exp(2 * a)) * (1 + np.exp(-2 * a)))
  return 2 / (1 + np.exp(2 * a)), -sech2, 2 * np.tanh(a) * sech2


def _LogitMarginLoss(loss, a):
  both = (1 + np.exp(a)) * (1 + np.exp(-a))
  return np.maximum(-a, 0) + np.log1p(np.exp(-abs(a))), -1 / (1 + np.exp(a)), 1 / both


def _ExpLoss(loss, a):
  return np.exp(-a), -np.exp(-a), np.exp(-a)


def grid(loss):
  """Normal float32 agreements of all magnitudes, and the neighbours of every kink."""
  rng = np.random.default_rng(0)
  exponents = np.arange(-126.0, 128)[:, None]
  spread = (2.0**exponents * rng.uniform(1, 2, (len(exponents), 30))).ravel()
  parts = [
    rng.uniform(-2, 2, 20_000),
    rng.uniform(-20, 20, 20_000),
    rng.uniform(-110, 110, 20_000),
    spread,
    -spread,
    [0.0, -0.0, 1e30, -1e30],
  ]
  for kink in (*loss.kinks2, 0.0, 1.0, -1.0):
    kink = np.float32(kink)
    steps = np.arange(-40, 41, dtype=np.int32)
    bits = kink.view(np.int32) + steps if kink else steps & np.int32(0x7FFFFFFF)
    parts += [bits.astype(np.int32).view(np.float32), kink * rng.uniform(0.5, 20, 2000)]
  with np.errstate(over="ignore"):
    a = np.concatenate([np.asarray(part).astype(np.float32) for part in parts])
  return a[np.isfinite(a) & ((abs(a) >= np.finfo(np.float32).tiny) | (a == 0))]


def ulps(found, true, dtype=np.float32, *, flushed=2.0**-123):
  """Errors in units in the last place of the truth; what is flushed, and may be, has none.

  An infinity is right where the truth rounds to it, and infinitely wrong elsewhere.
  """
  info = np.finfo(np.float32) if dtype == np.float32 else _info(dtype)
  largest, tiny, digits = WIDE(float(info.max)), WIDE(float(info.tiny)), info.nmant
  with np.errstate(all="ignore"):
    exponent = np.floor(np.log2(np.maximum(abs(true), tiny)))
    unit = WIDE(2) ** (exponent - digits)
    found = np.asarray(found).astype(np.float64).astype(WIDE)
    error = abs(found - true) / unit
  rounds_to_infinity = abs(true) >= largest * (1 + WIDE(2) ** (-digits - 2))
  error = np.where(rounds_to_infinity & np.isinf(found) & ((found > 0) == (true > 0)), 0, error)
  error = np.where((abs(true) < flushed) & (found == 0), 0, error)
  return np.where(np.isnan(error), np.inf, error).astype(np.float64)


def _info(dtype):
  import ml_dtypes

  return ml_dtypes.finfo(dtype)
