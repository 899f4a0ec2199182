"""The encoder of nodes as a part of configs: what it sees of a node, and the network."""

import dataclasses
from typing import Literal

from jax.typing import DTypeLike

from train.fields import field
from vqlab import graph
from vqlab.graph import pcrec

_CONVS = {
  "gin": graph.GINConv,
  "gcn": graph.GCNConv,
  "sage": graph.SAGEConv,
  "gat": graph.GATConv,
}


@dataclasses.dataclass(frozen=True)
class Walk:
  """How a node is seen: by the subgraph of a walk from it."""

  steps: int = field(256, least=1)
  """Steps of the walk."""
  restart: float = field(0.8, least=0, most=0.999)
  """Probability of a step back to the node."""
  max_nodes: int = field(64, least=2)
  """Nodes of the subgraph at most: those that were visited first."""
  max_hops: int | None = field(None, least=1)
  """Nodes further away are left out; None: none."""
  eigenvectors: int = field(32, least=1)
  """Of the subgraph's normalised adjacency, that tell where a node stands in it."""

  def make(self) -> pcrec.Walk:
    return pcrec.Walk(**dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Encoder:
  """A graph network over that subgraph, GCC's by default."""

  conv: Literal["gin", "gcn", "sage", "gat"] = field("gin")
  """What a layer is."""
  layers: int = field(4, least=1)
  """How many there are."""
  hidden: int = field(64, least=1)
  """Their width."""
  dim: int = field(64, least=1)
  """Dimensions of a subgraph's vector, which is of length 1; a node's is the mean of some."""
  readout: Literal["sum", "mean", "max"] = field("sum")
  """Over the nodes of a subgraph."""
  dropout: float = field(0.5, least=0, most=0.999)
  """Rate, of what each layer adds to the vector."""
  degree_dim: int = field(16, least=1)
  """Width of the embedding of degrees."""
  max_degree: int = field(512, least=1)
  """Larger degrees are taken for it."""
  walk: Walk = field(Walk())

  def make(self, param_dtype: DTypeLike) -> graph.SubgraphEncoder:
    inner = graph.GraphEncoder(
      conv=_CONVS[self.conv],
      layers=self.layers,
      hidden=self.hidden,
      dim=self.dim,
      readout=self.readout,
      dropout=self.dropout,
      param_dtype=param_dtype,
    )
    return graph.SubgraphEncoder(inner, degree_dim=self.degree_dim, max_degree=self.max_degree)
