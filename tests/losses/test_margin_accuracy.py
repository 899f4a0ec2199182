"""Values and both derivatives of all eleven, to the ulp that the docstrings promise."""

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
  line, _, rounded = line.partition(" where float32 holds q; else ")
  bounds = {}
  for part in line.split("; "):
    bound, orders = re.match(r"([\d.]+|none)(?: ulp)? of (.*)$", part).groups()
    if rounded and float(np.float32(loss.q)) != loss.q:
      bound = rounded.split(",")[0]
    for order in re.split(", | and ", orders):
      bounds[order] = 0.0 if bound == "none" else float(bound)
  return [bounds["L"], bounds["L'"], bounds["L''"]]


def assert_as_promised(loss, a):
  rows = zip(three(loss, a), oracle.truths(loss, a), promised(loss), strict=True)
  for order, (found, true, bound) in enumerate(rows):
    assert found.dtype == jnp.float32
    flushed = 2.0**-123 * (loss.q + 1 if order == 2 and hasattr(loss, "q") else 1)
    errors = oracle.ulps(found, true, flushed=flushed)
    worst = np.argmax(errors)
    assert errors[worst] <= bound, (loss, order, a[worst], found[worst], errors[worst])


@pytest.mark.parametrize("loss", [*oracle.USUAL, *oracle.EXTREME], ids=repr)
def test_float32_to_the_promised_ulp(loss):
  a = oracle.grid(loss)  # up to 3e38: infinite or NaN where the truth is finite errs infinitely
  assert np.float32(1e30) in a and np.float32(-1e30) in a
  assert_as_promised(loss, a if loss in oracle.USUAL else a[::4])
  assert np.isfinite(three(loss, np.float32([1e-45, -1e-45]))).all()


def test_as_users_compile():
  """The same bounds with XLA's default optimization, which contracts and rewrites arithmetic."""
  program = """
from tests.losses import oracle
from tests.losses.test_margin_accuracy import assert_as_promised
for loss in (*oracle.USUAL[3:], *oracle.EXTREME[:4], *oracle.EXTREME[-3:]):
  assert_as_promised(loss, oracle.grid(loss)[::5])
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
    *(("bfloat16", loss) for loss in oracle.USUAL[::3]),
    *(("float16", loss) for loss in oracle.USUAL[1::3]),
  ],
  ids=str,
)
def test_every_number_of_16_bits(dtype, loss):
  kind = jnp.dtype(dtype).type
  every = np.arange(2**16, dtype=np.uint16).view(kind)
  with np.errstate(invalid="ignore"):
    wide = every.astype(np.float32)
  counted = np.isfinite(wide) & ((abs(wide) >= np.finfo(np.float32).tiny) | (wide == 0))
  for found, true in zip(three(loss, every), oracle.truths(loss, every[counted]), strict=True):
    assert found.dtype == kind
    with np.errstate(invalid="ignore"):
      assert np.isnan(found.astype(np.float32)[np.isnan(wide)]).all()
    errors = oracle.ulps(found[counted], true, kind)
    assert errors.max() <= 0.51, every[counted][np.argmax(errors)]


@pytest.mark.parametrize(
  "loss",
  [*oracle.USUAL[3:], losses.SmoothedL1HingeLoss(3e-8), losses.DWDMarginLoss(1e17)],
  ids=repr,
)
def test_float64(loss, x64):
  rng = np.random.default_rng(1)
  a = np.concatenate([rng.uniform(-3, 3, 20_000), rng.uniform(-40, 40, 20_000), [0.0, 1e30, -1e30]])
  a = np.concatenate([a, *(k + np.arange(-9, 10) * 2.0**-52 for k in loss.kinks2)])
  bound = 2e-13 if isinstance(loss, losses.DWDMarginLoss) else 1e-14
  for found, true in zip(three(loss, a), oracle.truths(loss, a), strict=True):
    assert found.dtype == jnp.float64
    known = abs(true) < np.finfo(np.float64).max
    assert np.isfinite(found[known]).all() and np.isinf(found[~known]).all()
    assert np.all(abs(found[known] - true[known]) <= bound * abs(true)[known] + 1e-300)


def test_what_plain_formulas_lose():
  """Figures that the textbook formulas miss in float32."""
  found = {loss: three(loss, np.float32([10, 80, -1000, 1])) for loss in oracle.USUAL[6:8]}
  sigmoid, logit = found.values()
  assert sigmoid[0][0] == pytest.approx(4.122307e-9, rel=1e-6)
  assert logit[0][2] == 1000 and logit[2][1] == pytest.approx(np.exp(-80), rel=1e-6)
  dwd = three(losses.DWDMarginLoss(150.0), np.float32([1]))
  assert dwd[0][0] == pytest.approx(np.exp(150 * np.log(150 / 151)) / 151, rel=1e-6)
