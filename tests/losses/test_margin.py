"""The calling conventions of margin losses: kinks, differentiation, dtypes, targets, bad input."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.losses import oracle
from vqlab import losses

every_loss = pytest.mark.parametrize("loss", oracle.USUAL, ids=repr)

# At each kink, (L', L'') by the convention of LossFunctions.jl v1.2.2: typed in, not computed.
AT_KINKS = [
  (losses.ZeroOneLoss(), 0.0, 0.0, 0.0),
  (losses.PerceptronLoss(), 0.0, 0.0, 0.0),
  (losses.L1HingeLoss(), 1.0, 0.0, 0.0),
  (losses.SmoothedL1HingeLoss(0.5), 0.5, -1.0, 2.0),
  (losses.SmoothedL1HingeLoss(0.5), 1.0, 0.0, 2.0),
  (losses.SmoothedL1HingeLoss(4.0), -3.0, -1.0, 0.25),
  (losses.ModifiedHuberLoss(), -1.0, -4.0, 2.0),
  (losses.ModifiedHuberLoss(), 1.0, 0.0, 2.0),
  (losses.DWDMarginLoss(1.0), 0.5, -1.0, 0.0),
  (losses.DWDMarginLoss(3.0), 0.75, -1.0, 0.0),
  (losses.L2HingeLoss(), 1.0, 0.0, 0.0),
]


# One array for all: a grid, every kink, and what is far.
GRID = np.linspace(-6, 6, 601)
KINKS = np.unique([row[1] for row in AT_KINKS])
FAR = np.array([1e30, -1e30, 80, -80])
SPECIAL = np.array([np.nan, np.inf, -np.inf])
POINTS = np.concatenate([GRID, KINKS, FAR, SPECIAL]).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def by_autodiff(loss, a):
  """What jax makes of L: its derivatives in reverse and forward, up to the third."""
  forward = lambda function: lambda a: jax.jvp(function, (a,), (jnp.ones_like(a),))[1]
  reverse = lambda function: lambda a: jax.vjp(function, a)[1](jnp.ones_like(a))[0]
  return {
    "value": loss.value(a),
    "deriv": loss.deriv(a),
    "deriv2": loss.deriv2(a),
    "reverse": reverse(loss.value)(a),
    "forward": forward(loss.value)(a),
    "reverse twice": reverse(reverse(loss.value))(a),
    "forward of reverse": forward(reverse(loss.value))(a),
    "third": reverse(loss.deriv2)(a),
  }


@functools.cache
def at_points(loss):
  return {name: np.asarray(values) for name, values in by_autodiff(loss, POINTS).items()}


@pytest.mark.parametrize(("loss", "at", "slope", "curvature"), AT_KINKS)
def test_kinks_are_the_stated_one_sided_values(loss, at, slope, curvature):
  found = at_points(loss)
  (where,) = np.nonzero(at == POINTS)
  assert len(where)
  for name in ("deriv", "reverse", "forward"):
    np.testing.assert_array_equal(found[name][where], slope)
  for name in ("deriv2", "reverse twice", "forward of reverse"):
    np.testing.assert_array_equal(found[name][where], curvature)


def test_grad_of_a_scalar_and_jacobians():
  loss = losses.L1HingeLoss()
  assert float(jax.grad(loss.value)(1.0)) == 0 and float(jax.grad(loss)(0.5, -1)) == 1
  curvature = jax.jit(jax.jacfwd(jax.jacrev(losses.ModifiedHuberLoss().value)))(jnp.ones(2))
  np.testing.assert_array_equal(curvature, [[[2, 0], [0, 0]], [[0, 0], [0, 2]]])


def test_kinks_that_float32_cannot_hold_are_compared_exactly():
  loss = losses.SmoothedL1HingeLoss(0.1)
  below = np.float32(0.9)  # 0.89999998
  above = np.nextafter(below, np.float32(1))
  assert float(below) < loss.kinks2[0] < float(above)
  assert float(loss.deriv2(below)) == 0 and float(loss.deriv2(above)) == np.float32(10)


@every_loss
def test_autodiff_is_the_formulas(loss):
  found = at_points(loss)
  # Exactly so at kinks (above); elsewhere two programs may contract products differently.
  same = functools.partial(np.testing.assert_array_max_ulp, maxulp=1)
  finite = np.isfinite(POINTS)
  for name in ("reverse", "forward"):
    same(found[name][finite], found["deriv"][finite])
  for name in ("reverse twice", "forward of reverse"):
    same(found[name][finite], found["deriv2"][finite])
  # The third against differences of the second, away from where that jumps.
  third = found["third"]
  assert np.isfinite(third[: len(GRID)]).all() and not np.isnan(third[~np.isnan(POINTS)]).any()
  inner, step = np.float64(POINTS[: len(GRID)]), 1e-5
  smooth = np.min([abs(inner - k) for k in (*loss.kinks2, 99.0)], axis=0) > 0.01
  ends = [oracle.truth(loss, 2, inner + side * step) for side in (-1, 1)]
  numeric = np.float64(ends[1] - ends[0]) / (2 * step)
  np.testing.assert_allclose(third[: len(GRID)][smooth], numeric[smooth], rtol=2e-4, atol=2e-5)


@every_loss
def test_nan_and_infinity(loss):
  found = at_points(loss)
  for order, name in enumerate(["value", "reverse", "reverse twice"]):
    nan, *ends = found[name][-3:]
    assert np.isnan(nan)
    limits = [float(oracle.truth(loss, order, np.float64(x))) for x in (1e4, -1e4)]
    for x, limit in zip(ends, limits, strict=True):
      assert float(x) == (math.copysign(math.inf, limit) if abs(limit) > 1e3 else round(limit))
  assert np.isnan(found["third"][-3])


@pytest.mark.parametrize("loss", [losses.SmoothedL1HingeLoss(2.0)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtype_and_shape_are_the_outputs(loss, dtype):
  output = jnp.linspace(-2, 2, 6, dtype=dtype).reshape(2, 3)
  for target in (jnp.array([[1, -1, 1], [-1, -1, 1]]), -1.0):
    for found in (loss(output, target), loss.deriv(output, target), loss.deriv2(output, target)):
      assert found.dtype == output.dtype and found.shape == output.shape


def test_integers_are_the_default_float():
  loss = losses.L2HingeLoss()
  assert loss.value(jnp.array([-1, 2])).dtype == jnp.float32
  assert float(loss.value(3)) == 0 and float(loss(-1, 1)) == 4
  assert float(loss(0.5, -1)) == 2.25


def test_derivatives_by_the_output():
  rng = np.random.default_rng(0)
  output = jnp.asarray(rng.normal(size=50), jnp.float32)
  target = jnp.asarray(rng.choice([-1, 1], 50))
  loss = losses.ModifiedHuberLoss()
  agreement = output * target.astype(jnp.float32)
  np.testing.assert_array_equal(loss(output, target), loss.value(agreement))
  slope = jax.jit(jax.vmap(jax.grad(loss)))(output, target)
  np.testing.assert_array_equal(loss.deriv(output, target), slope)
  np.testing.assert_array_equal(slope, np.asarray(target) * np.asarray(loss.deriv(agreement)))
  curvature = jax.jit(jax.vmap(jax.grad(jax.grad(loss))))(output, target)
  np.testing.assert_array_equal(loss.deriv2(output, target), curvature)


def test_frozen_hashable_static():
  loss = losses.SmoothedL1HingeLoss(2.0)
  twin = dataclasses.replace(loss)
  assert twin == loss and hash(twin) == hash(loss) and twin is not loss
  with pytest.raises(dataclasses.FrozenInstanceError):
    loss.gamma = 3.0
  calls = []

  @functools.partial(jax.jit, static_argnums=0)
  def run(loss, a):
    calls.append(loss)
    return loss.value(a)

  run(loss, jnp.zeros(3)), run(twin, jnp.zeros(3))
  assert len(calls) == 1
  assert jax.tree.leaves(2.0 * loss) == [2.0 * loss]  # no arrays, no pytree: one static thing


def test_relations_between_losses():
  a = jnp.linspace(-4, 4, 801)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
  quarter = 4 * losses.SmoothedL1HingeLoss(2.0)
  for name in ("value", "deriv", "deriv2"):
    close(getattr(losses.ModifiedHuberLoss(), name)(a), getattr(quarter, name)(a))
  hinge = losses.L1HingeLoss()
  np.testing.assert_allclose(losses.SmoothedL1HingeLoss(1e-6).value(a), hinge.value(a), atol=1e-6)
  np.testing.assert_allclose(losses.DWDMarginLoss(1e6).value(a), hinge.value(a), atol=2e-5)
  close(losses.DWDMarginLoss(1).value(a[a > 0.5]), 1 / (4 * a[a > 0.5]))
  close(losses.SigmoidLoss().value(a), 2 * jax.nn.sigmoid(-2 * a))
  assert losses.HingeLoss is losses.L1HingeLoss


def test_where_hides_nan_and_its_gradient():
  loss = losses.LogitMarginLoss()
  output = jnp.array([0.5, jnp.nan, -jnp.inf])
  where = jnp.array([True, False, False])
  target = jnp.array([1, 0, 7])  # what is masked need not be a target
  np.testing.assert_array_equal(loss(output, target, where=where)[1:], 0)
  slope = jax.grad(lambda o: jnp.sum(loss(o, target, where=where)))(output)
  np.testing.assert_allclose(slope, [loss.deriv(0.5), 0, 0], rtol=1e-6)
  weighted = losses.weighted(loss, positive=0.3)
  slope = jax.grad(lambda o: jnp.sum(weighted(o, target, where=where)))(output)
  np.testing.assert_allclose(slope, [0.3 * loss.deriv(0.5), 0, 0], rtol=1e-6)


def test_labels01():
  for labels in ([0, 1, 1], [False, True, True], [0.0, 1.0, 1.0]):
    found = losses.from_labels01(jnp.array(labels))
    np.testing.assert_array_equal(found, [-1, 1, 1])
    assert found.dtype == (jnp.float32 if isinstance(labels[0], float) else jnp.int32)
  with pytest.raises(ValueError, match="from_labels01: labels must be 0 or 1; found -1"):
    losses.from_labels01(jnp.array([-1, 1]))
  with pytest.raises(ValueError, match="labels must be 0 or 1; found nan"):
    losses.from_labels01(jnp.array([jnp.nan, 1]))


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, 1e-40, "1", jnp.ones(())], ids=repr)
def test_bad_parameters_are_named(value):
  for name, make in {
    "SmoothedL1HingeLoss: gamma": losses.SmoothedL1HingeLoss,
    "DWDMarginLoss: q": losses.DWDMarginLoss,
    "ScaledLoss: factor": losses.ExpLoss().__mul__,
  }.items():
    with pytest.raises(ValueError, match=f"{name} is .*; it must be a positive Python number"):
      make(value)


def test_kinks_that_float64_rounds_to_1():
  """Below 1 stays below: at a = 1 the exact kinks are behind."""
  assert losses.SmoothedL1HingeLoss(1e-20).kinks2 == (1.0,)
  loss = losses.DWDMarginLoss(1e16)
  found = [float(f(1.0)) for f in (loss.value, loss.deriv, loss.deriv2, jax.grad(loss.deriv2))]
  true = np.exp(-1) * np.array([1e-16, -1, 1e16, -1e32])
  np.testing.assert_allclose(found, true, rtol=1e-5)
  assert float(jax.grad(loss.deriv2)(1e-30)) == 0  # and not infinity times 0


def test_bad_outputs_and_targets_are_named():
  loss = losses.L1HingeLoss()
  ones = jnp.ones(3)
  with pytest.raises(ValueError, match=r"outputs \[3, 1\] and targets \[3\] must have one shape"):
    loss(jnp.ones((3, 1)), ones)
  with pytest.raises(ValueError, match=r"targets must be -1 or 1; found 0.*from_labels01"):
    loss(ones, jnp.array([1, 0, 1]))
  with pytest.raises(ValueError, match=r"L1HingeLoss: targets must be -1 or 1; found 0\.5"):
    loss.deriv(ones, jnp.array([1, 0.5, 1]))
  with pytest.raises(ValueError, match="targets must be -1 or 1; found nan"):
    loss(ones, jnp.array([1, jnp.nan, 1]))
  with pytest.raises(ValueError, match="targets are bool; from_labels01 makes them -1 and 1"):
    loss(ones, ones > 0)
  with pytest.raises(ValueError, match="outputs are complex64; they must be real numbers"):
    loss(ones.astype(complex), ones)
  with pytest.raises(ValueError, match="outputs are bool; they must be real numbers"):
    loss.value(ones > 0)
  with pytest.raises(ValueError, match=r"where must be bool\[3\]; found float32\[3\]"):
    loss(ones, ones, where=ones)
  with pytest.raises(ValueError, match=r"outputs \[2\] and targets \[3\]"):
    jax.jit(loss)(jnp.ones(2), ones)  # shapes are known while tracing
  jax.jit(loss)(ones, 0.5 * ones)  # values are not
  for where in (None, jnp.ones((), bool)):
    with pytest.raises(ValueError, match=r"outputs \[\] and targets \[3\] must have one shape"):
      loss(1.0, ones, where=where)
