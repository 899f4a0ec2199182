"""Margin losses against the plain jnp expression and optax: value and gradient of many agreements.

    python -m benchmarks.margin_loss_speed [--repeats 300] [--count 1048576]

The sum over float32 agreements and its gradient, jitted: jax.value_and_grad of the loss, of the
formula as one would write it in jnp, and of optax's function where it has one (given targets of 1).
They alternate, each round in another order. It prints a table in Markdown: the least time of the
loss in milliseconds, and its ratios to the others by the median and by the least of their times. Of
two programs of the same passes over memory the ratio still scatters by 0.2 either way.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vqlab import losses


def smoothed_hinge(a: jax.Array) -> jax.Array:
  gamma = 0.5
  bent = jnp.maximum(0, 1 - a) ** 2 / (2 * gamma)
  return jnp.where(a >= 1 - gamma, bent, 1 - gamma / 2 - a)


def dwd(a: jax.Array, q: float = 1.0) -> jax.Array:
  """Chosen before and after the power, whose gradient is NaN below 0."""
  straight = a <= q / (q + 1)
  curve = q**q / (q + 1) ** (q + 1) * jnp.where(straight, 1.0, a) ** -q
  return jnp.where(straight, 1 - a, curve)


# Each loss, the expression in jnp, and optax's function of scores and targets 1.
ROWS = (
  (losses.ZeroOneLoss(), lambda a: jnp.where(a < 0, 1.0, 0.0), None),
  (losses.PerceptronLoss(), lambda a: jnp.maximum(0, -a), optax.losses.perceptron_loss),
  (losses.L1HingeLoss(), lambda a: jnp.maximum(0, 1 - a), optax.losses.hinge_loss),
  (losses.SmoothedL1HingeLoss(0.5), smoothed_hinge, None),
  (
    losses.ModifiedHuberLoss(),
    lambda a: jnp.where(a >= -1, jnp.maximum(0, 1 - a) ** 2, -4 * a),
    None,
  ),
  (losses.DWDMarginLoss(1.0), dwd, None),
  (losses.DWDMarginLoss(2.5), lambda a: dwd(a, 2.5), None),
  (losses.L2MarginLoss(), lambda a: (1 - a) ** 2, optax.losses.squared_error),
  (losses.L2HingeLoss(), lambda a: jnp.maximum(0, 1 - a) ** 2, None),
  (losses.SigmoidLoss(), lambda a: 1 - jnp.tanh(a), None),
  (
    losses.LogitMarginLoss(),
    lambda a: jax.nn.softplus(-a),
    optax.losses.sigmoid_binary_cross_entropy,
  ),
  (losses.ExpLoss(), lambda a: jnp.exp(-a), None),
)


def times(functions: list, a: jax.Array, *, repeats: int) -> np.ndarray:
  """Seconds [functions, repeats] of value and gradient; each round starts with the next one."""
  runs = [jax.jit(jax.value_and_grad(lambda a, f=f: jnp.sum(f(a)))) for f in functions]
  for run in runs:
    jax.block_until_ready(run(a))  # compiles
  found = np.zeros((len(runs), repeats))
  for repeat in range(repeats):
    for i in np.roll(np.arange(len(runs)), repeat):
      begun = time.perf_counter()
      jax.block_until_ready(runs[i](a))
      found[i, repeat] = time.perf_counter() - begun
  return found


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--repeats", type=int, default=300)
  parser.add_argument("--count", type=int, default=2**20)
  args = parser.parse_args()
  a = jnp.asarray(2 * np.random.default_rng(0).normal(size=args.count), jnp.float32)
  print("| loss | ms | to jnp, median | least | to optax, median | least |")
  print("|---|---|---|---|---|---|")
  for loss, plain, peer in ROWS:
    functions = [loss.value, plain]
    if peer is not None:
      functions.append(lambda a, f=peer: f(a, jnp.ones_like(a)))
    found = times(functions, a, repeats=args.repeats)
    cells = [repr(loss), f"{1e3 * found[0].min():.2f}"]
    for other in found[1:]:
      cells.append(f"{np.median(found[0]) / np.median(other):.2f}")
      cells.append(f"{found[0].min() / other.min():.2f}")
    print("| " + " | ".join(cells + ["-"] * (6 - len(cells))) + " |", flush=True)


if __name__ == "__main__":
  main()
