"""Classifiers of scikit-learn's breast cancer data, one with each margin loss.

    python -m benchmarks.margin_losses [--steps 1000] [--repeats 3]

Each loss trains a linear classifier and a network of one hidden layer (16 tanh units), full batch,
on mean loss + 0.0005 |weights|^2 with Adam, whose rate falls from 0.2 (network: 0.02) to 0 along a
cosine; the features are standardised by the training part. Five folds, stratified, times the
repeats; all splits train at once. scikit-learn's linear classifiers minimise the same objectives on
the same splits (but that LinearSVC also penalises its intercept). It prints a table in Markdown:

  objective  what was minimised, on the training part, at the end
  accuracy   of the test folds, mean and standard deviation over splits; a score of 0 is wrong
  margin     mean over test examples of agreement / |weights| (over both layers' product of norms)
  zero       training examples whose derivative is exactly 0: no support vectors
  < 0.001    training examples whose derivative is smaller than that
"""

import argparse
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vqlab import losses

LOSSES = (
  losses.ZeroOneLoss(),
  losses.PerceptronLoss(),
  losses.L1HingeLoss(),
  losses.SmoothedL1HingeLoss(1.0),
  losses.ModifiedHuberLoss(),
  losses.DWDMarginLoss(1.0),
  losses.L2MarginLoss(),
  losses.L2HingeLoss(),
  losses.SigmoidLoss(),
  losses.LogitMarginLoss(),
  losses.ExpLoss(),
)
DECAY = 1e-3
HIDDEN = 16
RATES = {"linear": 0.2, "network": 0.02}


def splits(repeats: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Standardised features [S, N, 30], targets [N] and whether an example trains [S, N]."""
  from sklearn.datasets import load_breast_cancer
  from sklearn.model_selection import StratifiedKFold

  features, labels = load_breast_cancer(return_X_y=True)
  trains, scaled = [], []
  for seed in range(repeats):
    for rows, _ in StratifiedKFold(5, shuffle=True, random_state=seed).split(features, labels):
      train = np.zeros(len(labels), bool)
      train[rows] = True
      mean, deviation = features[train].mean(0), features[train].std(0)
      trains.append(train)
      scaled.append((features - mean) / deviation)
  targets = np.asarray(losses.from_labels01(labels))
  return np.float32(scaled), targets, np.array(trains)


def linear(key: jax.Array, width: int) -> tuple[dict, Callable]:
  """A linear classifier; small random weights, for at 0 some losses have no gradient."""
  params = {"weight": 0.01 * jax.random.normal(key, (width,)), "bias": jnp.zeros(())}
  return params, lambda params, x: x @ params["weight"] + params["bias"]


def network(key: jax.Array, width: int) -> tuple[dict, Callable]:
  first, second = jax.random.split(key)
  params = {
    "weight": jax.random.normal(first, (width, HIDDEN)) / width**0.5,
    "bias": jnp.zeros(HIDDEN),
    "weight2": jax.random.normal(second, (HIDDEN,)) / HIDDEN**0.5,
    "bias2": jnp.zeros(()),
  }

  def apply(params: dict, x: jax.Array) -> jax.Array:
    hidden = jnp.tanh(x @ params["weight"] + params["bias"])
    return hidden @ params["weight2"] + params["bias2"]

  return params, apply


def weights(params: dict) -> list[jax.Array]:
  return [value for name, value in params.items() if name.startswith("weight")]


def train(
  loss, model: Callable, x: jax.Array, targets: jax.Array, mask: jax.Array, key, steps: int
):
  """(scores of all examples, the product of the weights' norms, objective) after training."""
  params, apply = model(key, x.shape[-1])
  adam = optax.adam(optax.cosine_decay_schedule(RATES[model.__name__], steps))

  def objective(params: dict) -> jax.Array:
    penalty = 0.5 * DECAY * sum(jnp.sum(w**2) for w in weights(params))
    return losses.reduce(loss(apply(params, x), targets, where=mask), where=mask) + penalty

  def step(carry, _):
    params, state = carry
    updates, state = adam.update(jax.grad(objective)(params), state)
    return (optax.apply_updates(params, updates), state), None

  (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), length=steps)
  norm = jnp.prod(jnp.array([jnp.linalg.norm(w) for w in weights(params)]))
  return apply(params, x), norm, objective(params)


def figures(loss, scores, norms, objectives, targets, trains) -> list[str]:
  """The cells of one row."""
  scores, norms = np.asarray(scores), np.asarray(norms)
  agreement = scores * targets
  tests = ~trains
  accuracy = [np.mean(a[t] > 0) for a, t in zip(agreement, tests, strict=True)]
  if norms.min() > 1e-6:
    means = [np.mean(a[t]) / n for a, t, n in zip(agreement, tests, norms, strict=True)]
    margin = f"{np.mean(means):.2f}"
  else:  # the penalty alone has trained, down to no weights at all
    margin = "none"
  deviation = f"{100 * np.mean(accuracy):.1f} ± {100 * np.std(accuracy):.1f}"
  cells = [f"{np.mean(objectives):.4f}", deviation, margin]
  slopes = np.abs(loss.deriv(agreement.astype(np.float32)))[trains]
  return [*cells, f"{100 * np.mean(slopes == 0):.0f} %", f"{100 * np.mean(slopes < 1e-3):.0f} %"]


def peers() -> dict:
  """scikit-learn's classifiers, made for a number of examples, and the losses they minimise."""
  from sklearn.linear_model import LogisticRegression
  from sklearn.svm import LinearSVC

  cost = lambda n: 1 / (DECAY * n)
  return {
    "scikit-learn LinearSVC, hinge": (
      lambda n: LinearSVC(loss="hinge", C=cost(n), max_iter=200_000, random_state=0),
      losses.L1HingeLoss(),
    ),
    "scikit-learn LinearSVC, squared hinge": (
      lambda n: LinearSVC(loss="squared_hinge", C=cost(n), max_iter=200_000, random_state=0),
      losses.L2HingeLoss(),
    ),
    "scikit-learn LogisticRegression": (
      lambda n: LogisticRegression(C=cost(n), max_iter=5000),
      losses.LogitMarginLoss(),
    ),
  }


def peer(classifier: Callable, loss, features, targets, trains) -> tuple[list, list, list]:
  scores, norms, objectives = [], [], []
  for x, rows in zip(features, trains, strict=True):
    fitted = classifier(rows.sum()).fit(x[rows], targets[rows])
    scores.append(fitted.decision_function(x))
    norms.append(np.linalg.norm(fitted.coef_))
    values = loss(np.float32(scores[-1]), targets)
    objectives.append(float(losses.reduce(values, where=rows)) + 0.5 * DECAY * norms[-1] ** 2)
  return scores, norms, objectives


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--steps", type=int, default=1000)
  parser.add_argument("--repeats", type=int, default=3)
  args = parser.parse_args()
  warnings.filterwarnings("ignore", module="sklearn")
  begun = time.perf_counter()
  features, targets, trains = splits(args.repeats)
  keys = jax.random.split(jax.random.key(0), len(trains))
  print("| classifier, loss | objective | accuracy % | margin | zero | < 0.001 |")
  print("|---|---|---|---|---|---|")
  for model in (linear, network):
    for loss in LOSSES:
      run = jax.jit(
        jax.vmap(lambda x, m, k, l=loss, f=model: train(l, f, x, targets, m, k, args.steps))
      )
      found = run(features, trains, keys)
      row = [f"{model.__name__}, {loss!r}", *figures(loss, *found, targets, trains)]
      print("| " + " | ".join(row) + " |", flush=True)
  for name, (classifier, loss) in peers().items():
    found = peer(classifier, loss, features, targets, trains)
    print("| " + " | ".join([name, *figures(loss, *found, targets, trains)]) + " |", flush=True)
  print(f"\n{len(trains)} splits, {args.steps} steps, {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
  main()
