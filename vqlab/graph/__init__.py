"""Graphs, walks on them, encoders of nodes, and what recommends by them."""

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
from vqlab.graph.lightgcn import Propagation, propagate, propagation
from vqlab.graph.recommending import rank, rank_by_vectors
from vqlab.graph.sampling import Popularity, negatives, popularity, positives

__all__ = [
  "Graph",
  "Popularity",
  "Propagation",
  "bfs_distances",
  "core_numbers",
  "degrees",
  "from_edges",
  "from_interactions",
  "has_edge",
  "k_core",
  "negatives",
  "popularity",
  "positives",
  "propagate",
  "propagation",
  "rank",
  "rank_by_vectors",
  "sources",
]
