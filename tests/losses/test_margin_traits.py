"""Every cell of the trait table, from values alone: the flags are compared afterwards.

Values are the oracle's, in 64 bits of significand, so that what is found is a property of the
functions and not of float32. Each property looks for a counterexample on a grid that contains the
places where one may be; the flags must be what it finds, both ways. Scaled and weighted losses are
looked at as functions of the output, for either target.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from tests.losses import oracle
from vqlab import losses

LOSSES = [*oracle.USUAL, losses.SmoothedL1HingeLoss(0.3), losses.DWDMarginLoss(0.4)]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)

# Multiples of 1/4 are exact in float64, and so are their midpoints.
GRID = np.arange(-80, 81) / 4


class Function(NamedTuple):
  """What is looked at; nothing that a loss says of itself."""

  at: Callable  # (order, a) -> the function or its derivative of that order
  near: tuple[float, ...]  # where to look closely

  def value(self, a):
    return self.at(0, a)


def functions(loss, positive=1.0, negative=1.0):
  """A weighted loss as a function of the output, for the targets 1 and -1."""
  near = tuple(kinks_possible(loss))
  first = lambda order, a: positive * oracle.truth(loss, order, a)
  second = lambda order, a: (-1) ** order * negative * oracle.truth(loss, order, -np.asarray(a))
  return Function(first, near), Function(second, tuple(-k for k in near))


def kinks_possible(loss):
  """Where to look closely: candidates of all losses, not what this one says."""
  found = {-1.0, 0.0, 0.5, 1.0, 2.0}
  if hasattr(loss, "gamma"):
    found |= {1 - loss.gamma, loss.gamma}
  if hasattr(loss, "q"):
    found |= {loss.q / (loss.q + 1), 1 / (loss.q + 1)}
  return sorted(found)


def excess_of_chords(function, a, b):
  """(L(a) + L(b))/2 - L((a + b)/2), and the size of its rounding errors."""
  ends = (function.value(a) + function.value(b)) / 2
  middle = function.value((a + b) / 2)
  return ends - middle, 1e-17 * (abs(ends) + abs(middle))


def find_convex(function):
  excess, error = excess_of_chords(function, GRID[:, None], GRID[None, :])
  return bool(np.all(excess >= -error))


def find_strictly_convex(function):
  a, b = GRID[:, None], GRID[None, :]
  excess, error = excess_of_chords(function, a, b)
  return bool(np.all((excess > error) | (a == b)))


def find_strongly_convex(function):
  """The chords' excess over intervals of length 1 is bounded below, however far they are."""
  moduli = []
  for center in (-40.0, -10.0, 0.0, 10.0, 40.0):
    a, b = center - 0.5, center + 0.5
    excess, error = excess_of_chords(function, np.float64(a), np.float64(b))
    moduli.append(max(0.0, float(excess - error)))
  return min(moduli) > 1e-6


def steepest(function, low, high, step=1e-3):
  a = np.arange(low, high, step)
  return float(np.max(abs(np.diff(function.value(a)) / np.diff(a))))


def find_lipschitz(function):
  """The steepest secant, or None where secants get steeper without bound: wider or finer."""
  wide = [steepest(function, -size, size, size / 10_000) for size in (40.0, 80.0, 160.0)]
  if wide[2] > 1.5 * wide[1] > 2 * wide[0] or not find_locally_lipschitz(function):
    return None
  return max(*wide, steepest(function, -4, 4))


def find_locally_lipschitz(function):
  around = [-1.0, 0.0, 0.5, 1.0, *function.near]
  slopes = [
    max(steepest(function, k - h, k + h, h / 5) for k in around) for h in (1e-2, 1e-4, 1e-6)
  ]
  return slopes[2] < 2 * slopes[0] + 1e-3


def one_sided(function, at, side):
  """The one-sided derivative, of second order in the step."""
  at, h = oracle.WIDE(at), oracle.WIDE(2) ** -20
  # The function is read at exact float64 points: around the point itself as a float64.
  points = [np.float64(at + side * k * h) for k in (1, 2, 3)]
  near, middle, far = (function(np.float64(p)) for p in points)
  h = abs(oracle.WIDE(points[1]) - oracle.WIDE(points[0]))
  return side * (5 * (middle - near) - 3 * (far - middle)) / (2 * h)


def find_kinks(function, order):
  """Points at which L (order 0) or L' (order 1) has no derivative: the one-sided ones differ."""
  derivative = functools.partial(function.at, order)
  candidates = {*function.near, *np.arange(-40, 41) / 8}
  found = []
  for at in sorted(candidates):
    sides = [float(one_sided(derivative, at, side)) for side in (-1, 1)]
    ends = [float(derivative(np.float64(at) + side * 2.0**-20)) for side in (-1, 1)]
    jump = abs(ends[0] - ends[1]) > 1e-3
    if jump or abs(sides[0] - sides[1]) > 1e-3:
      found.append(float(at))
  return found


def find_clip(pair):
  """The least M >= 0 on a grid for which clipping outputs to [-M, M] adds to neither function."""
  far = np.concatenate([GRID, [-1e3, -60.0, 60.0, 1e3]])
  with np.errstate(all="ignore"):
    for bound in np.arange(0, 33) / 4:
      # Any M > 0 when 0 is the least: the smallest is tried as 2^-20.
      clipped = np.clip(far, -max(bound, 2.0**-20), max(bound, 2.0**-20))
      if all(np.all(function.value(clipped) <= function.value(far)) for function in pair):
        return float(bound)
  return None


OUTPUTS = np.unique(np.concatenate([np.linspace(-12, 12, 2401), [0.0], 2.0 ** -np.arange(1, 30)]))
OUTPUTS = np.unique(np.concatenate([OUTPUTS, -OUTPUTS]))


def find_calibrated(pair):
  """No output of the wrong sign, 0 included, comes near the least risk."""
  first, second = (function.value(OUTPUTS) for function in pair)
  for p in (0.02, 0.2, 0.4, 0.45, 0.55, 0.6, 0.8, 0.98):
    risks = p * first + (1 - p) * second
    wrong = (OUTPUTS * (2 * p - 1)) <= 0
    if risks[wrong].min() - risks.min() < 1e-6:
      return False
  return True


def find_fisher(pair):
  """Every output of least risk has the sign of 2p - 1."""
  first, second = (function.value(OUTPUTS) for function in pair)
  for p in (0.1, 0.3, 0.4, 0.6, 0.7, 0.9):
    risks = p * first + (1 - p) * second
    best = OUTPUTS[risks <= risks.min() + 1e-12]
    if not np.all(np.sign(best) == np.sign(2 * p - 1)):
      return False
  return True


def assert_the_same(loss, pair):
  """Every flag of a loss is what its values show, for either target."""
  steepness = [find_lipschitz(function) for function in pair]
  assert (None in steepness) == (loss.lipschitz is None)
  if loss.lipschitz is not None:
    assert max(steepness) == pytest.approx(loss.lipschitz, rel=1e-5)
  for target, function in zip((1, -1), pair, strict=True):
    assert find_convex(function) == loss.convex
    assert find_strictly_convex(function) == loss.strictly_convex
    assert find_strongly_convex(function) == loss.strongly_convex
    assert find_locally_lipschitz(function) == loss.locally_lipschitz
    first, second = ([target * k for k in find_kinks(function, order)] for order in (0, 1))
    assert sorted(first) == pytest.approx(loss.kinks)
    # L' of what jumps or bends there has no derivative; ZeroOneLoss' own L' is 0 on both sides.
    assert sorted({*first, *second}) == pytest.approx(loss.kinks2)
    assert loss.differentiable == loss.is_differentiable() == (not first)
    twice = not (first or second)
    assert loss.twice_differentiable == loss.is_twice_differentiable() == twice
    for at in {-1.0, 0.0, 0.5, 1.0, *(target * k for k in function.near)}:
      assert loss.is_differentiable(at) == (at not in first)
      assert loss.is_twice_differentiable(at) == (at not in first and at not in second)
  assert find_clip(pair) == loss.clip_at
  assert loss.clipable == (loss.clip_at is not None)
  assert find_calibrated(pair) == loss.classification_calibrated
  assert find_fisher(pair) == loss.fisher_consistent
  sides = [np.float64(f.value(target * GRID)) for target, f in zip((1, -1), pair, strict=True)]
  assert np.allclose(*sides, rtol=1e-12) == loss.margin_based


@every_loss
def test_every_trait(loss):
  assert_the_same(loss, functions(loss))


@every_loss
def test_what_implies_what(loss):
  assert loss.strictly_convex or not loss.strongly_convex
  assert loss.convex or not loss.strictly_convex
  assert loss.locally_lipschitz or not (loss.convex or loss.lipschitz)
  assert set(loss.kinks) <= set(loss.kinks2)
  if loss.convex:  # Bartlett, Jordan & McAuliffe, theorem 2: a slope below 0 at 0
    value = functions(loss)[0].value
    sides = [float(one_sided(value, 0, side)) for side in (-1, 1)]
    calibrated = abs(sides[0] - sides[1]) < 1e-6 and sides[0] < 0
    assert calibrated == loss.classification_calibrated


@pytest.mark.parametrize("loss", LOSSES[::5], ids=repr)
def test_of_scaled_losses(loss):
  assert_the_same(3.0 * loss, functions(loss, 3.0, 3.0))
  assert (0.25 * (2.0 * loss)).lipschitz == (None if not loss.lipschitz else 0.5 * loss.lipschitz)


@pytest.mark.parametrize(
  ("loss", "positive"),
  [*((loss, 0.3) for loss in LOSSES[::4]), (losses.LogitMarginLoss(), 0.5)],
  ids=repr,
)
def test_of_weighted_losses(loss, positive):
  weighted = losses.weighted(loss, positive=positive)
  assert weighted.name == "WeightedLoss"
  assert_the_same(weighted, functions(loss, positive, 1 - positive))


def test_weights_that_only_rounding_tells_apart():
  nested = losses.weighted(losses.weighted(losses.ExpLoss(), positive=0.3), positive=0.7)
  assert nested.positive != nested.negative and nested.margin_based
  assert nested.classification_calibrated
  assert not losses.weighted(losses.ExpLoss(), positive=0.5 + 2.0**-30).margin_based
