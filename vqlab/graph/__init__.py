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

__all__ = [
  "Graph",
  "bfs_distances",
  "core_numbers",
  "degrees",
  "from_edges",
  "from_interactions",
  "has_edge",
  "k_core",
  "sources",
]
