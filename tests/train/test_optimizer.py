"""Learning rates as PySlowFast computes them, and SGD as PyTorch does."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.optimizer import SGD, Muon, matrices, outside_norms, schedule_of


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


def test_what_is_a_matrix():
  zeros = lambda *shape: jnp.zeros(shape)
  found = matrices({
    "conv": {"kernel": zeros(3, 3, 4, 8), "bias": zeros(8)},
    "stack": {"past": zeros(5, 1, 4, 8), "gate_bias": zeros(5, 8)},
    "embed": {"embedding": zeros(10, 4)},
  })  # fmt: skip
  assert found["conv"]["kernel"] == ((0, 1, 2), 3) and found["stack"]["past"] == (2, 3)
  others = found["conv"]["bias"], found["stack"]["gate_bias"], found["embed"]["embedding"]
  assert others == (None, None, None)


def test_muon_makes_every_matrix_of_a_stack_orthogonal():
  """So that its step moves all directions alike; what is no matrix takes Adam's (Nesterov's)."""
  rng = np.random.default_rng(0)
  gradients = {"stack": rng.normal(size=(2, 6, 4)), "bias": np.array([1e-3, -50.0])}
  gradients["stack"] *= np.array([0.3, 1.0, 5.0, 20.0])
  params = jax.tree.map(lambda g: jnp.zeros(g.shape), gradients)
  optimizer = Muon(0.5, adam=0.1, schedule="constant").make(10)
  with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
  for matrix, gradient in zip(updates["stack"], gradients["stack"], strict=True):
    singular = np.linalg.svd(matrix, compute_uv=False)
    assert np.all((singular > 0.5 * 0.65) & (singular < 0.5 * 1.25))  # five Newton-Schulz steps'
    u, _, v = np.linalg.svd(gradient, full_matrices=False)
    np.testing.assert_allclose(-matrix / 0.5, u @ v, atol=0.35)
  nesterov = 0.9 * (0.1 / (1 - 0.9**2)) + 1
  np.testing.assert_allclose(updates["bias"], [-0.05 * nesterov, 0.05 * nesterov], rtol=1e-3)
