"""LightGCN: the paper's matrices, written out dense; its gradients; platforms and devices agree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from vqlab import graph, losses

U, I, D = 9, 7, 5


def drawn(seed=0):
  """A graph of users and items, one of either without any edge, and its matrix."""
  table = np.random.default_rng(seed).random((U, I)) < 0.4
  table[3], table[:, 2] = False, False
  g = graph.from_interactions(*np.nonzero(table), U, I)
  dense = np.zeros((U + I, U + I))
  dense[:U, U:], dense[U:, :U] = table, table.T
  scale = np.maximum(dense.sum(1), 1) ** -0.5
  return g, scale[:, None] * dense * scale


def plainly(matrix, embeddings, layers):
  every = [embeddings]
  for _ in range(layers):
    every.append(matrix @ every[-1])
  return sum(every) / len(every)


def embeddings_of(seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(U + I, D)))


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_it_is_the_mean_of_dense_products(x64, layers):
  g, matrix = drawn()
  seen, x = graph.propagation(g, dtype=jnp.float64), embeddings_of()
  ours = jax.jit(functools.partial(graph.propagate, layers=layers))(seen, x)
  np.testing.assert_allclose(ours, plainly(matrix, np.asarray(x), layers), rtol=1e-12, atol=1e-14)


def test_gradients(x64):
  g, matrix = drawn(1)
  seen, x = graph.propagation(g, dtype=jnp.float64), embeddings_of(1)
  weight = embeddings_of(2)
  loss = lambda propagated: jnp.sum(weight * jnp.tanh(propagated))
  ours = jax.grad(lambda x: loss(graph.propagate(seen, x)))(x)
  theirs = jax.grad(lambda x: loss(plainly(jnp.asarray(matrix), x, 3)))(x)
  np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
  check_grads(lambda x: graph.propagate(seen, x) ** 2, (x,), order=2, modes=["rev"])


def test_forms_of_all_platforms_agree(x64, monkeypatch):
  g, matrix = drawn(2)
  seen, x = graph.propagation(g, dtype=jnp.float64), embeddings_of(3)
  monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
  ours = graph.propagate(seen, x)
  np.testing.assert_allclose(ours, plainly(matrix, np.asarray(x), 3), rtol=1e-12, atol=1e-14)


def test_dtypes():
  g, matrix = drawn()
  x = embeddings_of().astype(jnp.bfloat16)
  ours = graph.propagate(graph.propagation(g), x)
  assert ours.dtype == jnp.float32
  expected = plainly(matrix, np.asarray(x, np.float64), 3)
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def step(params, seen, users, good, bad, learning_rate=0.1):
  """One of gradient descent on BPR and the norms of the batch's own embeddings."""

  def loss(params):
    final = graph.propagate(seen, params)
    nodes = jnp.stack([users, U + good, U + bad])
    user, *items = final[nodes]
    scores = [jnp.sum(user * item, axis=1) for item in items]
    ranked = losses.pairwise(losses.LogitMarginLoss(), *scores)
    return jnp.mean(ranked) + 1e-2 * jnp.sum(params[nodes] ** 2) / 2 / len(users)

  value, grad = jax.value_and_grad(loss)(params)
  return value, params - learning_rate * grad


def batch(size=16, seed=4):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.integers(0, n, size), jnp.int32) for n in (U, I, I)]


def test_a_batch_over_devices_is_the_batch(x64):
  g, _ = drawn(3)
  seen, x = graph.propagation(g, dtype=jnp.float64), embeddings_of()
  one = jax.jit(step)(x, seen, *batch())
  mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
  everywhere, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
  many = jax.jit(step, out_shardings=everywhere)(
    *jax.device_put((x, seen), everywhere), *jax.device_put(batch(), split)
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), many, one)


def test_training_is_that_in_torch(x64):
  torch = pytest.importorskip("torch")
  peer = pytest.importorskip("benchmarks.peers.lightgcn")
  g, _ = drawn(3)
  seen, x = graph.propagation(g, dtype=jnp.float64), embeddings_of()
  model = peer.LightGCN(np.asarray(g.indptr), np.asarray(g.indices), np.array(x), layers=3)
  descent = torch.optim.SGD(model.parameters(), lr=0.1)
  for k in range(3):
    users, good, bad = batch(seed=k)
    mine, x = jax.jit(step)(x, seen, users, good, bad)
    theirs = model.loss(*(torch.tensor(np.array(n)) for n in (users, U + good, U + bad)), 1e-2)
    descent.zero_grad()
    theirs.backward()
    descent.step()
    np.testing.assert_allclose(float(mine), theirs.item(), rtol=1e-12)
  np.testing.assert_allclose(x, model.embeddings.detach().numpy(), rtol=1e-11, atol=1e-13)


def test_no_edges_and_bad_input():
  empty = graph.from_interactions(np.zeros(0, np.int32), np.zeros(0, np.int32), 2, 3)
  seen = graph.propagation(empty)
  np.testing.assert_allclose(
    graph.propagate(seen, jnp.ones((5, 2)), layers=1), np.full((5, 2), 0.5)
  )
  with pytest.raises(ValueError, match=r"embeddings \[4, 2\] must be \[5, D\]"):
    graph.propagate(seen, jnp.ones((4, 2)))
  with pytest.raises(ValueError, match="layers is -1; it must be at least 0"):
    graph.propagate(seen, jnp.ones((5, 2)), layers=-1)
