"""Graphs, walks on them, encoders of their nodes, and what recommends by them."""

from vqlab.graph import moco, pcrec
from vqlab.graph.csr import (
  Graph,
  bfs_distances,
  core_numbers,
  degrees,
  from_edges,
  from_interactions,
  has_edge,
  k_core,
  sources,
)
from vqlab.graph.edges import DenseEdges, Edges, SparseEdges
from vqlab.graph.encoders import (
  GATConv,
  GCNConv,
  GINConv,
  GraphEncoder,
  SAGEConv,
  SubgraphEncoder,
  read_out,
  unit,
)
from vqlab.graph.features import Features, spectral_positions, structural
from vqlab.graph.lightgcn import Propagation, propagate, propagation
from vqlab.graph.recommending import rank, rank_by_vectors
from vqlab.graph.sampling import Popularity, negatives, popularity, positives
from vqlab.graph.walks import (
  Subgraphs,
  induced,
  random_walks,
  subgraphs_on_host,
  walk_subgraphs,
  walks_on_host,
  within,
)

__all__ = [
  "DenseEdges",
  "Edges",
  "Features",
  "GATConv",
  "GCNConv",
  "GINConv",
  "Graph",
  "GraphEncoder",
  "Popularity",
  "Propagation",
  "SAGEConv",
  "SparseEdges",
  "SubgraphEncoder",
  "Subgraphs",
  "bfs_distances",
  "core_numbers",
  "degrees",
  "from_edges",
  "from_interactions",
  "has_edge",
  "induced",
  "k_core",
  "moco",
  "negatives",
  "pcrec",
  "popularity",
  "positives",
  "propagate",
  "propagation",
  "random_walks",
  "rank",
  "rank_by_vectors",
  "read_out",
  "sources",
  "spectral_positions",
  "structural",
  "subgraphs_on_host",
  "unit",
  "walk_subgraphs",
  "walks_on_host",
  "within",
]
