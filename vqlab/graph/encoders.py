"""Graph networks: GIN, and GCN, GraphSAGE and GAT to compare it with, on dense batches and on
whole sparse graphs.

    GIN        h_i' = MLP((1 + eps) h_i + sum_j h_j)              Xu et al. 2019, arXiv 1810.00826
    GCN        h_i' = W sum_j' h_j' / sqrt(d_i d_j')              Kipf & Welling 2017, 1609.02907
    GraphSAGE  h_i' = V h_i + W mean_j h_j                        Hamilton et al. 2017, 1706.02216
    GAT        h_i' = sum_j' a_ij' W h_j'                         Velickovic et al. 2018, 1710.10903

j are the neighbours of i, j' these and i itself, d_i how many j' there are. Each layer ends with
batch norm and ReLU.

Letters: B graphs, n nodes of each, F features, D dimensions of the result.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.graph.edges import DenseEdges, Edges
from vqlab.graph.features import Features
from vqlab.graph.walks import Subgraphs
from vqlab.nn.dropout import Dropout
from vqlab.nn.norm import BatchNorm

Norm = Callable[[jax.Array, str], jax.Array]  # (values, the layer's name) -> normalized


def _dense(layer: nn.Module, features: int, name: str) -> nn.Dense:
  """A matrix without a bias, which the norm that follows would take away."""
  return nn.Dense(features, use_bias=False, name=name, param_dtype=layer.param_dtype)


class GINConv(nn.Module):
  """An MLP of two layers of the sum of a node and its neighbours, eps 0.

  GCC's code has one more norm and ReLU after it.
  """

  features: int
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, edges: Edges, h: jax.Array, norm: Norm) -> jax.Array:
    dense = lambda name: _dense(self, self.features, name)
    return dense("out")(nn.relu(norm(dense("in")(h + edges.sum(h)), "inner")))


class GCNConv(nn.Module):
  """The sum over a node and its neighbours, normalised by degrees on both sides."""

  features: int
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, edges: Edges, h: jax.Array, norm: Norm) -> jax.Array:
    scale = jax.lax.rsqrt(edges.degrees(h.dtype) + 1)[..., None]
    h = scale * h
    return _dense(self, self.features, "out")(scale * (h + edges.sum(h)))


class SAGEConv(nn.Module):
  """A node, and the mean of its neighbours, each by a matrix of its own."""

  features: int
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, edges: Edges, h: jax.Array, norm: Norm) -> jax.Array:
    mean = edges.sum(h) / jnp.maximum(edges.degrees(h.dtype), 1)[..., None]
    return _dense(self, self.features, "own")(h) + _dense(self, self.features, "beside")(mean)


class GATConv(nn.Module):
  """Attention over a node and its neighbours by additive scores; the heads are concatenated."""

  features: int
  param_dtype: DTypeLike = jnp.float32
  heads: int = 4

  @nn.compact
  def __call__(self, edges: Edges, h: jax.Array, norm: Norm) -> jax.Array:
    if self.features % self.heads:
      raise ValueError(f"GATConv: {self.heads} heads do not divide {self.features} features")
    values = _dense(self, self.features, "values")(h)
    # A score is linear in the values of its head; taken of h, it is one product.
    own, other = (_dense(self, self.heads, name)(h) for name in ("own", "other"))
    out = edges.attend(own, other, values.reshape(*values.shape[:-1], -1, self.heads))
    return out.reshape(*out.shape[:-2], -1)


class GraphEncoder(nn.Module):
  """A vector for each graph, of what all of its layers, the features included, are summed up to.

  As GCC's: the read-out of each layer goes through a matrix of its own, and the sum of these is the
  result, of length 1.

  Attributes:
    conv: what a layer is: GINConv, GCNConv, SAGEConv, GATConv.
    layers: how many there are.
    hidden: their width.
    dim: D.
    readout: over the nodes of a graph.
    dropout: rate, of what each layer adds to the results of a batch; a single graph has none.
    normalize: whether the result is of length 1.
  """

  conv: Callable[..., nn.Module] = GINConv
  layers: int = 4
  hidden: int = 64
  dim: int = 64
  readout: Literal["sum", "mean", "max"] = "sum"
  dropout: float = 0.5
  normalize: bool = True
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    edges: Edges,
    features: jax.Array,
    *,
    mask: jax.Array | None = None,
    train: bool = False,
    axis_name: str | None = None,
    rows: jax.Array | None = None,
  ) -> jax.Array:
    """[B, n, F] -> [B, D], or of one sparse graph [N, F] -> [D].

    Args:
      edges: `DenseEdges` of [B, n, n], or `SparseEdges`.
      features: of the nodes.
      mask: bool, [B, n] or [N]: where there is a node. What the others hold changes nothing.
      train, axis_name: see `nn.BatchNorm`; nodes are what its statistics are of.
      rows: see `nn.Dropout`.
    """
    mask = jnp.ones(features.shape[:-1], bool) if mask is None else mask
    nodes = jnp.where(mask[..., None], features, 0)
    total = None
    for i, h in enumerate(self._layers(edges, nodes, mask, train, axis_name)):
      out = nn.Dense(self.dim, name=f"readout{i}", param_dtype=self.param_dtype)(
        read_out(self.readout, h, mask)
      )
      if self.dropout and out.ndim > 1:
        out = Dropout(self.dropout, name=f"dropout{i}")(out, train=train, rows=rows)
      total = out if total is None else total + out
    return unit(total) if self.normalize else total

  def _layers(self, edges, h, mask, train, axis_name):
    """The features, then each layer's nodes; 0 where there is no node."""
    yield h
    for i in range(self.layers):
      norm = lambda x, name, i=i: BatchNorm(
        name=f"norm{i}_{name}", dtype=x.dtype, param_dtype=self.param_dtype
      )(x, train=train, axis_name=axis_name, mask=mask)
      h = self.conv(features=self.hidden, name=f"conv{i}", param_dtype=self.param_dtype)(
        edges, h, norm
      )
      h = jnp.where(mask[..., None], nn.relu(norm(h, "outer")), 0)
      yield h


class SubgraphEncoder(nn.Module):
  """GCC's encoder: structural features of a walk's subgraph to a vector of its seed.

  Attributes:
    graph: what encodes.
    degree_dim: width of the embedding of degrees.
    max_degree: larger ones are taken for it.
  """

  graph: GraphEncoder = GraphEncoder()
  degree_dim: int = 16
  max_degree: int = 512

  @nn.compact
  def __call__(
    self,
    sub: Subgraphs,
    features: Features,
    *,
    train: bool = False,
    axis_name: str | None = None,
    rows: jax.Array | None = None,
  ) -> jax.Array:
    """[B, D] of `walk_subgraphs` and their `structural` features; see `GraphEncoder`."""
    dtype = self.graph.param_dtype
    embed = nn.Embed(self.max_degree + 1, self.degree_dim, name="degree", param_dtype=dtype)
    nodes = jnp.concatenate(
      [
        features.positions.astype(dtype),
        embed(jnp.minimum(features.degrees, self.max_degree)),
        features.seed[..., None].astype(dtype),
      ],
      axis=-1,
    )
    return self.graph(
      DenseEdges(sub.adjacency), nodes,
      mask=sub.mask, train=train, axis_name=axis_name, rows=rows,
    )  # fmt: skip


def read_out(kind: Literal["sum", "mean", "max"], h: jax.Array, mask: jax.Array) -> jax.Array:
  """[..., n, F] -> [..., F] over the nodes that there are; 0 where there is none."""
  if kind == "max":
    top = jnp.max(jnp.where(mask[..., None], h, -jnp.inf), axis=-2)
    return jnp.where(jnp.any(mask, axis=-1)[..., None], top, 0)
  total = jnp.sum(jnp.where(mask[..., None], h, 0), axis=-2)
  if kind == "sum":
    return total
  return total / jnp.maximum(jnp.sum(mask, axis=-1, dtype=h.dtype), 1)[..., None]


def unit(x: jax.Array) -> jax.Array:
  """Vectors of length 1 along the last axis; 0 stays 0."""
  square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.where(square > 0, square, 1))
