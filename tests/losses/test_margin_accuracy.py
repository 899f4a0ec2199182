"""Values and both derivatives of all eleven, to the ulp that the docstrings promise."""

import decimal
import functools
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.losses import oracle
from vqlab import losses


@functools.partial(jax.jit, static_argnums=0)
def compiled(loss, a):
  return loss.value(a), loss.deriv(a), loss.deriv2(a)


def three(loss, a):
  return [np.asarray(x) for x in compiled(loss, a)]


def promised(loss):
  """The three bounds in a docstring: "Errors in float32: 1 ulp of L; 0.5 of L'; none of L''"."""
  text = " ".join(type(loss).__doc__.split())
  line = re.search(r"Errors in float32: (.*?)\.(?: |$)", text).group(1)
  if line == "none":
    return [0.0, 0.0, 0.0]
  bounds = {}
  for part in line.split(";"):
    bound, orders = re.match(r" ?([\d.]+|none)(?: ulp)? of (.*?)(?:, whatever q)?$", part).groups()
    for order in re.split(", | and ", orders):
      bounds[order] = 0.0 if bound == "none" else float(bound)
  return [bounds["L"], bounds["L'"], bounds["L''"]]


@pytest.mark.parametrize("loss", [*oracle.USUAL, *oracle.EXTREME], ids=repr)
def test_float32_to_the_promised_ulp(loss):
  a = oracle.grid(loss)  # up to 3e38: infinite or NaN where the truth is finite errs infinitely
  assert len(a) > 8e4 and np.float32(1e30) in a and np.float32(-1e30) in a
  if loss in oracle.EXTREME:
    a = a[::4]
  for order, (found, bound) in enumerate(zip(three(loss, a), promised(loss), strict=True)):
    assert found.dtype == jnp.float32
    errors = oracle.ulps(found, oracle.truth(loss, order, a))
    worst = np.argmax(errors)
    assert errors[worst] <= bound, (order, a[worst], found[worst])


def test_no_promise_is_above_two_ulp():
  assert all(max(promised(loss)) <= 2 for loss in oracle.USUAL)


def test_as_users_compile():
  """The same bounds with XLA's default optimization, which contracts and rewrites arithmetic."""
  program = """
import numpy as np
from tests.losses import oracle
from tests.losses.test_margin_accuracy import promised, three
from vqlab.losses import SmoothedL1HingeLoss
for loss in (*oracle.USUAL[3:], SmoothedL1HingeLoss(3e-8)):
  a = oracle.grid(loss)[::5]
  for order, found in enumerate(three(loss, a)):
    worst = oracle.ulps(found, oracle.truth(loss, order, a)).max()
    assert worst <= promised(loss)[order], (loss, order, worst)
print("right")
"""
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  done = subprocess.run(
    [sys.executable, "-c", program], env=environment, capture_output=True, text=True
  )
  assert done.stdout.strip() == "right", done.stderr


@pytest.mark.parametrize(
  ("dtype", "loss"),
  [
    *(("bfloat16", loss) for loss in oracle.USUAL),
    *(("float16", loss) for loss in oracle.USUAL[::4]),
  ],
  ids=str,
)
def test_every_number_of_16_bits(dtype, loss):
  kind = jnp.dtype(dtype).type
  every = np.arange(2**16, dtype=np.uint16).view(kind)
  with np.errstate(invalid="ignore"):
    finite = np.isfinite(every.astype(np.float32))
  for order, found in enumerate(three(loss, every)):
    assert found.dtype == kind
    with np.errstate(invalid="ignore"):
      wide = every.astype(np.float32)
      assert np.isnan(found.astype(np.float32)[np.isnan(wide)]).all()
    errors = oracle.ulps(found[finite], oracle.truth(loss, order, every[finite]), kind)
    assert errors.max() <= 0.51, (order, every[finite][np.argmax(errors)])


SMALL = [*map(losses.SmoothedL1HingeLoss, (1e-3, 1e-6, 3e-8)), losses.DWDMarginLoss(1e17)]


@pytest.mark.parametrize("loss", [*oracle.USUAL[3:], *SMALL], ids=repr)
def test_float64(loss, x64):
  rng = np.random.default_rng(1)
  a = np.concatenate([rng.uniform(-3, 3, 20_000), rng.uniform(-40, 40, 20_000), [0.0, 1e30, -1e30]])
  a = np.concatenate([a, *(k + np.arange(-9, 10) * 2.0**-52 for k in loss.kinks2)])
  bound = 2e-13 if isinstance(loss, losses.DWDMarginLoss) else 1e-14
  for order, found in enumerate(three(loss, a)):
    assert found.dtype == jnp.float64
    true = oracle.truth(loss, order, a)
    known = abs(true) < np.finfo(np.float64).max
    assert np.isfinite(found[known]).all() and np.isinf(found[~known]).all()
    assert np.all(abs(found[known] - true[known]) <= bound * abs(true)[known] + 1e-300), order


def by_decimals(loss, a):
  """L, L' and L'' to fifty digits, where 64 bits of np.longdouble might not be enough."""
  a = decimal.Decimal(float(a))
  if isinstance(loss, losses.DWDMarginLoss):
    q = decimal.Decimal(loss.q)
    ratio = (q / (q + 1) / a).ln()
    return [c * ((q + k) * ratio).exp() for k, c in enumerate((1 / (q + 1), -1, (q + 1) ** 2 / q))]
  if isinstance(loss, losses.SigmoidLoss):
    up, down = a.exp(), (-a).exp()
    tanh, sech2 = (up - down) / (up + down), 4 / (up + down) ** 2
    return [1 - tanh, -sech2, 2 * tanh * sech2]
  up = a.exp()
  return [(1 + 1 / up).ln(), -1 / (1 + up), up / (1 + up) ** 2]


@pytest.mark.parametrize(
  "loss",
  [
    losses.SigmoidLoss(),
    losses.LogitMarginLoss(),
    *map(losses.DWDMarginLoss, (0.01, 1.0, 150.0, 1e7)),
  ],
  ids=repr,
)
def test_the_oracle_itself(loss):
  points = np.float32([1e-20, 1e-6, 0.5, 0.9999999, 1.0000001, 1.7, 9.3, 43.9, 80.1])
  if isinstance(loss, losses.DWDMarginLoss):
    points = points[points > loss.kinks2[0]]
  with decimal.localcontext(prec=100):
    for a in points:
      for order, true in enumerate(by_decimals(loss, a)):
        found = decimal.Decimal(str(oracle.truth(loss, order, a)))
        assert abs(found - true) < decimal.Decimal("1e-9") * abs(true) or abs(true) < 1e-40


def test_what_plain_formulas_lose():
  """Figures that the textbook formulas miss in float32."""
  sigmoid, logit = losses.SigmoidLoss(), losses.LogitMarginLoss()
  assert float(sigmoid.value(jnp.float32(10))) == pytest.approx(4.122307e-9, rel=1e-6)
  assert float(logit.value(jnp.float32(-1000))) == 1000
  assert float(logit.deriv2(jnp.float32(80))) == pytest.approx(np.exp(-80), rel=1e-6)
  assert float(losses.DWDMarginLoss(150).value(jnp.float32(1))) == pytest.approx(
    np.exp(150 * np.log(150 / 151)) / 151, rel=1e-6
  )
  assert float(sigmoid.deriv2(np.float32(2.0**-127))) == 2.0**-126  # twice a subnormal is normal
