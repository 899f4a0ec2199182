"""What vectors of nodes tell of the structure around them, by linear probes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqlab import graph
from vqlab.features import LinearClassifier, fit_probe, score_probe
from vqlab.graph import Graph


def labels_of(g: Graph) -> dict[str, np.ndarray]:
  """i32[N] of each node: the power of two that its degree has reached, and its core number.

  Numbered without gaps, so that they are classes.
  """
  degrees = np.log2(np.maximum(np.diff(g.indptr), 1)).astype(np.int32)
  found = {"degree": degrees, "core": graph.core_numbers(g)}
  return {name: np.unique(x, return_inverse=True)[1].astype(np.int32) for name, x in found.items()}


def probed(
  encoders: dict[str, Any],
  embed: Callable[..., jax.Array],
  g: Graph,
  num_nodes: int,
) -> dict[str, float]:
  """Accuracies of linear probes, a half of the nodes to learn from and the other to be told.

  Args:
    encoders: variables by the ending of their figures' names.
    embed: (variables, graph, nodes) -> [M, D].
    num_nodes: how many nodes are drawn, those with neighbours.

  Returns:
    "probe_degree" and "probe_core" with each ending, and with "_majority" what always to say the
    most frequent class gives.
  """
  nodes = np.flatnonzero(np.diff(g.indptr)).astype(np.int32)
  nodes = np.random.default_rng(0).permutation(nodes)[:num_nodes]
  half, figures = len(nodes) // 2, {}
  vectors = {end: embed(variables, g, nodes) for end, variables in encoders.items()}
  for label, classes in labels_of(g).items():
    classes = jnp.asarray(classes[nodes])
    model = LinearClassifier(int(classes.max()) + 1)
    for end, x in vectors.items():
      probe = fit_probe(jax.random.key(0), x[:half], classes[:half], model=model)
      score = score_probe(model, probe, x[half:], classes[half:])
      figures[f"probe_{label}{end}"] = float(score.accuracy)
    figures[f"probe_{label}_majority"] = float(
      np.bincount(classes[half:]).max() / (len(nodes) - half)
    )
  return figures
