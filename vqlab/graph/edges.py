"""Who neighbours whom, as graph networks use it: dense batches and sparse graphs with one face.

A layer is written once for both. Nodes are the axis before the last of what it is given: [B, n, F]
with `DenseEdges`, [N, F] with `SparseEdges`.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from vqlab.graph.csr import Graph, sources


class Edges(Protocol):
  """What a layer asks of the edges; h is [..., n, F]."""

  def sum(self, h: jax.Array) -> jax.Array:
    """[..., n, F]: the sum of each node's neighbours; 0 where it has none."""

  def degrees(self, dtype: jnp.dtype) -> jax.Array:
    """[..., n]: how many neighbours each node has."""

  def attend(self, own: jax.Array, other: jax.Array, values: jax.Array) -> jax.Array:
    """[..., n, F, M]: of each node and its neighbours the mean, weighted by a softmax.

    Args:
      own, other: [..., n, M], of M heads; that of j weighs leaky_relu(own_i + other_j) for node i.
      values: [..., n, F, M].
    """


class DenseEdges(NamedTuple):
  """Of a batch of padded graphs."""

  adjacency: jax.Array  # bool[B, n, n], symmetric

  def sum(self, h: jax.Array) -> jax.Array:
    return self.adjacency.astype(h.dtype) @ h

  def degrees(self, dtype: jnp.dtype) -> jax.Array:
    return jnp.sum(self.adjacency, axis=-1, dtype=dtype)

  def attend(self, own: jax.Array, other: jax.Array, values: jax.Array) -> jax.Array:
    scores = jax.nn.leaky_relu(own[..., :, None, :] + other[..., None, :, :], 0.2)
    n = self.adjacency.shape[-1]
    beside = (self.adjacency | jnp.eye(n, dtype=bool))[..., None]
    weights = jax.nn.softmax(jnp.where(beside, scores, -jnp.inf), axis=-2)
    return jnp.einsum("...ijm,...jfm->...ifm", weights, values)


class SparseEdges(NamedTuple):
  """Of one whole graph."""

  source: jax.Array  # i32[E]
  target: jax.Array  # i32[E]
  count: jax.Array  # i32[N]  neighbours of each node

  @classmethod
  def of(cls, graph: Graph) -> "SparseEdges":
    target = jnp.asarray(graph.indices)
    return cls(sources(graph), target, jnp.asarray(graph.indptr[1:] - graph.indptr[:-1]))

  def sum(self, h: jax.Array) -> jax.Array:
    return self._gather(h[self.target])

  def degrees(self, dtype: jnp.dtype) -> jax.Array:
    return self.count.astype(dtype)

  def attend(self, own: jax.Array, other: jax.Array, values: jax.Array) -> jax.Array:
    scores = jax.nn.leaky_relu(own[self.source] + other[self.target], 0.2)
    self_scores = jax.nn.leaky_relu(own + other, 0.2)
    top = jnp.maximum(
      self_scores, jax.ops.segment_max(scores, self.source, len(own), indices_are_sorted=True)
    )
    top = jax.lax.stop_gradient(top)
    weights, self_weights = jnp.exp(scores - top[self.source]), jnp.exp(self_scores - top)
    total = self_weights + self._gather(weights)
    summed = self._gather(weights[:, None] * values[self.target])
    return (summed + self_weights[:, None] * values) / total[:, None]

  def _gather(self, values: jax.Array) -> jax.Array:
    return jax.ops.segment_sum(values, self.source, len(self.count), indices_are_sorted=True)
