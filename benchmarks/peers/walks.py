"""Random walks with restart and the subgraphs they induce, in plain Python: one after another."""

import random


def walk(
  rng: random.Random, neighbours: list[list[int]], seed: int, steps: int, restart: float
) -> list[int]:
  """The nodes of a walk, its seed first."""
  node, visited = seed, [seed]
  for _ in range(steps):
    if rng.random() < restart:
      node = seed
    elif beside := neighbours[node]:
      node = beside[int(rng.random() * len(beside))]  # `choice` takes three times as long
    visited.append(node)
  return visited


def subgraph(
  rng: random.Random,
  neighbours: list[list[int]],
  among: list[set[int]],
  seed: int,
  steps: int,
  restart: float,
  max_nodes: int,
) -> tuple[list[int], list[tuple[int, int]]]:
  """What a walk visits, in the order of the first visit, and which places have an edge.

  Args:
    among: the neighbours again, as sets.
  """
  nodes = list(dict.fromkeys(walk(rng, neighbours, seed, steps, restart)))[:max_nodes]
  edges = []
  for i, node in enumerate(nodes):
    beside = among[node]
    edges += [(i, j) for j in range(i) if nodes[j] in beside]
  return nodes, edges
