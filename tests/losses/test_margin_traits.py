"""Every cell of the trait table, from values alone: the flags are compared afterwards.

Values are the oracle's, in 64 bits of significand, so that what is found is a property of the
functions and not of float32. Each property looks for a counterexample on a grid that contains the
places where one may be; the flags must be what it finds, both ways.
"""

import itertools

import numpy as np
import pytest

from tests.losses import oracle
from vqlab import losses

LOSSES = [*oracle.USUAL, losses.SmoothedL1HingeLoss(0.3), losses.DWDMarginLoss(0.4)]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)

# Multiples of 1/8 are exact in float64, and so are their midpoints.
GRID = np.arange(-160, 161) / 8


def value(loss, a):
  return oracle.truth(loss, 0, a)


def kinks_possible(loss):
  """Where to look closely: candidates of all losses, not what this one says."""
  found = {-1.0, 0.0, 0.5, 1.0, 2.0}
  if hasattr(loss, "gamma"):
    found |= {1 - loss.gamma, loss.gamma}
  if hasattr(loss, "q"):
    found |= {loss.q / (loss.q + 1), 1 / (loss.q + 1)}
  return sorted(found)


def excess_of_chords(loss, a, b):
  """(L(a) + L(b))/2 - L((a + b)/2), and the size of its rounding errors."""
  ends, middle = (value(loss, a) + value(loss, b)) / 2, value(loss, (a + b) / 2)
  return ends - middle, 1e-17 * (abs(ends) + abs(middle))


def find_convex(loss):
  excess, error = excess_of_chords(loss, GRID[:, None], GRID[None, :])
  return bool(np.all(excess >= -error))


def find_strictly_convex(loss):
  a, b = GRID[:, None], GRID[None, :]
  excess, error = excess_of_chords(loss, a, b)
  return bool(np.all((excess > error) | (a == b)))


def find_strongly_convex(loss):
  """The chords' excess over intervals of length 1 is bounded below, however far they are."""
  moduli = []
  for center in (-40.0, -10.0, 0.0, 10.0, 40.0):
    a, b = center - 0.5, center + 0.5
    excess, error = excess_of_chords(loss, np.float64(a), np.float64(b))
    moduli.append(max(0.0, float(excess - error)))
  return min(moduli) > 1e-6


def steepest(loss, low, high, step=1e-3):
  a = np.arange(low, high, step)
  return float(np.max(abs(np.diff(value(loss, a)) / np.diff(a))))


def find_lipschitz(loss):
  """The steepest secant, or None where secants get steeper without bound: wider or finer."""
  wide = [steepest(loss, -size, size, size / 10_000) for size in (40.0, 80.0, 160.0)]
  if wide[2] > 1.5 * wide[1] > 2 * wide[0] or not find_locally_lipschitz(loss):
    return None
  return max(*wide, steepest(loss, -4, 4))


def find_locally_lipschitz(loss):
  around = [-1.0, 0.0, 0.5, 1.0, *kinks_possible(loss)]
  slopes = [max(steepest(loss, k - h, k + h, h / 5) for k in around) for h in (1e-2, 1e-4, 1e-6)]
  return slopes[2] < 2 * slopes[0] + 1e-3


def one_sided(function, at, side):
  """The one-sided derivative, of second order in the step."""
  at, h = oracle.WIDE(at), oracle.WIDE(2) ** -20
  # The function is read at exact float64 points: around the point itself as a float64.
  points = [np.float64(at + side * k * h) for k in (1, 2, 3)]
  near, middle, far = (function(np.float64(p)) for p in points)
  h = abs(oracle.WIDE(points[1]) - oracle.WIDE(points[0]))
  return side * (5 * (middle - near) - 3 * (far - middle)) / (2 * h)


def find_kinks(loss, order):
  """Points at which L (order 0) or L' (order 1) has no derivative: the one-sided ones differ."""
  function = lambda a: oracle.truth(loss, order, a)
  candidates = {*kinks_possible(loss), *np.arange(-40, 41) / 8}
  found = []
  for at in sorted(candidates):
    sides = [float(one_sided(function, at, side)) for side in (-1, 1)]
    ends = [float(function(np.float64(at) + side * 2.0**-20)) for side in (-1, 1)]
    jump = abs(ends[0] - ends[1]) > 1e-3
    if jump or abs(sides[0] - sides[1]) > 1e-3:
      found.append(float(at))
  return found


def find_clip(loss):
  """The least M >= 0 on a grid for which clipping to [-M, M] never adds to L(a) or L(-a)."""
  far = np.concatenate([GRID, [-1e3, -60.0, 60.0, 1e3]])
  with np.errstate(all="ignore"):
    for bound in np.arange(0, 33) / 4:
      # Any M > 0 when 0 is the least: the smallest is tried as 2^-20.
      clipped = np.clip(far, -max(bound, 2.0**-20), max(bound, 2.0**-20))
      gains = [value(loss, y * clipped) <= value(loss, y * far) for y in (-1, 1)]
      if np.all(gains):
        return float(bound)
  return None


def risk(loss, p, a):
  return p * value(loss, a) + (1 - p) * value(loss, -np.asarray(a))


OUTPUTS = np.unique(np.concatenate([np.linspace(-12, 12, 4801), [0.0], 2.0 ** -np.arange(1, 30)]))
OUTPUTS = np.unique(np.concatenate([OUTPUTS, -OUTPUTS]))


def find_calibrated(loss):
  """No output of the wrong sign, 0 included, comes near the least risk."""
  for p in (0.02, 0.2, 0.4, 0.45, 0.55, 0.6, 0.8, 0.98):
    risks = risk(loss, p, OUTPUTS)
    wrong = (OUTPUTS * (2 * p - 1)) <= 0
    if risks[wrong].min() - risks.min() < 1e-6:
      return False
  return True


def find_fisher(loss):
  """Every output of least risk has the sign of 2p - 1."""
  for p in (0.1, 0.3, 0.7, 0.9):
    risks = risk(loss, p, OUTPUTS)
    best = OUTPUTS[risks <= risks.min() + 1e-12]
    if not np.all(np.sign(best) == np.sign(2 * p - 1)):
      return False
  return True


@every_loss
def test_convexity(loss):
  found = find_convex(loss), find_strictly_convex(loss), find_strongly_convex(loss)
  assert found == (loss.convex, loss.strictly_convex, loss.strongly_convex)


@every_loss
def test_lipschitz(loss):
  found = find_lipschitz(loss)
  assert (found is None) == (loss.lipschitz is None)
  if found is not None:
    assert found == pytest.approx(loss.lipschitz, rel=1e-5)
  assert find_locally_lipschitz(loss) == loss.locally_lipschitz


@every_loss
def test_differentiability(loss):
  first, second = find_kinks(loss, 0), find_kinks(loss, 1)
  assert first == pytest.approx(loss.kinks)
  # L' of what jumps or bends there has no derivative; ZeroOneLoss' own L' is 0 on both sides.
  assert sorted({*first, *second}) == pytest.approx(loss.kinks2)
  assert loss.differentiable == (not first) and loss.twice_differentiable == (not (first or second))
  for at in {-1.0, 0.0, 0.5, 1.0, *kinks_possible(loss)}:
    assert loss.is_differentiable(at) == (at not in first)
    assert loss.is_twice_differentiable(at) == (at not in first and at not in second)


@every_loss
def test_clipability(loss):
  assert find_clip(loss) == loss.clip_at
  assert loss.clipable == (find_clip(loss) is not None)


@every_loss
def test_calibration_and_consistency(loss):
  assert find_calibrated(loss) == loss.classification_calibrated
  assert find_fisher(loss) == loss.fisher_consistent


@every_loss
def test_what_implies_what(loss):
  assert loss.strictly_convex or not loss.strongly_convex
  assert loss.convex or not loss.strictly_convex
  assert loss.locally_lipschitz or not (loss.convex or loss.lipschitz)
  assert set(loss.kinks) <= set(loss.kinks2)
  if loss.convex:  # Bartlett, Jordan & McAuliffe, theorem 2: a slope below 0 at 0
    sides = [float(one_sided(lambda a: oracle.truth(loss, 0, a), 0, side)) for side in (-1, 1)]
    calibrated = abs(sides[0] - sides[1]) < 1e-6 and sides[0] < 0
    assert calibrated == loss.classification_calibrated


def test_of_scaled_losses():
  for loss, factor in itertools.product(LOSSES, (0.25, 3.0)):
    scaled = factor * loss
    for trait in ("convex", "strictly_convex", "strongly_convex", "kinks", "kinks2", "clip_at"):
      assert getattr(scaled, trait) == getattr(loss, trait)
    assert scaled.fisher_consistent == loss.fisher_consistent
    if loss.lipschitz is None:
      assert scaled.lipschitz is None
    else:
      assert scaled.lipschitz == factor * loss.lipschitz


@every_loss
@pytest.mark.parametrize("positive", [0.3, 0.5, 0.8])
def test_of_weighted_losses(loss, positive):
  weighted = losses.weighted(loss, positive=positive)
  p = np.array([0.1, 0.25, 0.4, 0.6, 0.75, 0.9])[:, None]
  risks = positive * p * value(loss, OUTPUTS) + (1 - positive) * (1 - p) * value(loss, -OUTPUTS)
  wrong = OUTPUTS * (2 * p - 1) <= 0
  gaps = np.where(wrong, risks, np.inf).min(1) - risks.min(1)
  assert bool(np.all(gaps > 1e-6)) == weighted.classification_calibrated
  assert weighted.fisher_consistent == weighted.classification_calibrated
  symmetric = np.allclose(
    positive * np.float64(value(loss, GRID)), (1 - positive) * np.float64(value(loss, GRID))
  )
  assert symmetric == weighted.margin_based
  if loss.lipschitz is not None:
    steepness = [w * find_lipschitz(loss) for w in (positive, 1 - positive)]
    assert weighted.lipschitz == pytest.approx(max(steepness), rel=1e-5)
