"""Structural features: eigenvectors, signs, padding."""

import jax.numpy as jnp
import numpy as np

from vqlab import graph
from vqlab.graph import Subgraphs

N, M = 14, 10


def one(seed=13, n=N, m=M):
  """A connected graph of m nodes padded to n, without symmetries where m is 10."""
  rng = np.random.default_rng(seed)
  dense = np.zeros((n, n), bool)
  inner = np.triu(rng.random((m, m)) < 0.5, 1) | np.eye(m, k=1, dtype=bool)
  dense[:m, :m] = inner | inner.T
  nodes = np.where(np.arange(n) < m, np.arange(n), -1).astype(np.int32)
  return Subgraphs(jnp.asarray(nodes)[None], jnp.asarray(dense)[None])


def test_positions_are_the_top_eigenvectors(x64):
  sub = one()
  a = np.asarray(sub.adjacency[0, :M, :M], float)
  d = a.sum(1) ** -0.5
  values, vectors = np.linalg.eigh(d[:, None] * a * d)
  assert np.diff(values).min() > 1e-6
  vectors = vectors[:, ::-1][:, : M - 2]
  vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(M - 2)])
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  ours = graph.spectral_positions(sub.adjacency, sub.mask, eigenvectors=20, dtype=jnp.float64)
  assert ours.shape == (1, N, 20) and not ours[0, M:].any() and not ours[0, :, M - 2 :].any()
  np.testing.assert_allclose(ours[0, :M, : M - 2], vectors, atol=1e-9)
  fewer = graph.spectral_positions(sub.adjacency, sub.mask, eigenvectors=3, dtype=jnp.float64)
  theirs = vectors[:, :3] / np.linalg.norm(vectors[:, :3], axis=1, keepdims=True)
  np.testing.assert_allclose(fewer[0, :M], theirs, atol=1e-9)


def test_a_permutation_of_nodes_permutes_the_features(x64):
  sub = one(24)
  order = np.random.default_rng(0).permutation(N)
  moved = Subgraphs(sub.nodes[:, order], sub.adjacency[:, order][:, :, order])
  ours = graph.structural(sub, eigenvectors=6, dtype=jnp.float64)
  theirs = graph.structural(moved, eigenvectors=6, dtype=jnp.float64)
  np.testing.assert_allclose(theirs.positions, ours.positions[:, order], atol=1e-8)
  np.testing.assert_array_equal(theirs.degrees, ours.degrees[:, order])
  np.testing.assert_array_equal(ours.degrees[0], np.asarray(sub.adjacency[0]).sum(1))
  np.testing.assert_array_equal(ours.seed[0], np.arange(N) == 0)


def test_subgraphs_of_one_or_two_nodes_have_no_positions():
  for m in (1, 2):
    features = graph.structural(one(m=m), eigenvectors=4)
    assert not features.positions.any() and features.seed.sum() == 1


def test_a_graph_whose_eigenvectors_are_not_found_has_no_positions(monkeypatch):
  found = lambda x: (x[..., 0], jnp.full_like(x, jnp.nan).at[1:].set(1))
  monkeypatch.setattr(jnp.linalg, "eigh", found)
  two = Subgraphs(*(jnp.concatenate([x, x]) for x in one()))
  positions = graph.structural(two, eigenvectors=4).positions
  assert not positions[0].any() and positions[1].any() and jnp.isfinite(positions).all()
