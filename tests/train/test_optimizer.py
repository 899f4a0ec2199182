"""Learning rates as PySlowFast computes them, and SGD as PyTorch does."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.optimizer import SGD, outside_norms, schedule_of


def pyslowfast(step: int, steps: int, base: float, warmup: int, start: float) -> float:
  """The cosine from the first step on, and a straight line to where it is after the warm-up."""
  cosine = lambda k: base * (math.cos(math.pi * k / steps) + 1) * 0.5
  if step >= warmup:
    return cosine(step)
  return step * (cosine(warmup) - start) / warmup + start


@pytest.mark.parametrize(("steps", "warmup"), [(196, 34), (50, 0), (10, 9)])
def test_a_cosine_over_all_steps_is_pyslowfasts(steps, warmup):
  optimizer = SGD(0.1, warmup_steps=warmup, warmup_from=0.01, schedule="whole_cosine")
  rate = schedule_of(optimizer, steps)
  found = [float(rate(k)) for k in range(steps)]
  expected = [pyslowfast(k, steps, 0.1, warmup, 0.01) for k in range(steps)]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_the_warm_up_starts_where_it_is_told_to():
  rate = schedule_of(SGD(0.4, warmup_steps=4, warmup_from=0.2, schedule="constant"), 10)
  np.testing.assert_allclose([rate(k) for k in range(6)], [0.2, 0.25, 0.3, 0.35, 0.4, 0.4])


def test_norms_are_told_by_what_they_hold():
  params = {
    "conv": {"kernel": 1, "bias": 2},
    "a": {"norm": {"scale": 3, "bias": 4}, "fc": {"bias": 5, "kernel": 6}},
    "center_only": {"bias": 7},
  }
  assert outside_norms(params) == {
    "conv": {"kernel": True, "bias": True},
    "a": {"norm": {"scale": False, "bias": False}, "fc": {"bias": True, "kernel": True}},
    "center_only": {"bias": False},
  }


def test_descent_is_pytorchs():
  """Nesterov's momentum and coupled decay, none of it on norms."""
  torch = pytest.importorskip("torch")
  rng = np.random.default_rng(0)
  start = {"fc": {"kernel": rng.normal(size=5)}, "norm": {"scale": rng.normal(size=5)}}
  gradients = rng.normal(size=(6, 2, 5))
  kernel, scale = (torch.tensor(start[a][b]) for a, b in (("fc", "kernel"), ("norm", "scale")))
  groups = [{"params": [kernel]}, {"params": [scale], "weight_decay": 0.0}]
  theirs = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
  ours = SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1, decay_norms=False).make(6)
  with jax.enable_x64(True):
    params = jax.tree.map(jnp.asarray, start)
    state = ours.init(params)
    for of_kernel, of_scale in gradients:
      kernel.grad, scale.grad = torch.tensor(of_kernel), torch.tensor(of_scale)
      theirs.step()
      given = {"fc": {"kernel": jnp.asarray(of_kernel)}, "norm": {"scale": jnp.asarray(of_scale)}}
      updates, state = ours.update(given, state, params)
      params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["fc"]["kernel"], kernel.numpy(), rtol=1e-6)
    np.testing.assert_allclose(params["norm"]["scale"], scale.numpy(), rtol=1e-6)
