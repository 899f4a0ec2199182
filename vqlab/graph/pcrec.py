"""PCRec: a graph encoder pre-trained by contrast in one shop embeds the users and items of another.

Wang et al. 2021, "Pre-training Graph Neural Network for Cross Domain Recommendation", over GCC
(Qiu et al. 2020, arXiv 2006.09963): two walks from one node give two subgraphs, whose vectors
should be told from those of other nodes (`moco`, `losses.info_nce`). What is learned is of
structure alone, so it can be asked about any graph; its vectors of a shop's nodes are where matrix
factorisation starts.

Letters: B seeds, D dimensions.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqlab.graph.csr import Graph
from vqlab.graph.features import Features, structural
from vqlab.graph.walks import Subgraphs, walk_subgraphs


class Walk(NamedTuple):
  """How a node is seen; see `walk_subgraphs` and `structural`. Python's numbers, static."""

  steps: int = 256
  restart: float = 0.8
  max_nodes: int = 64
  max_hops: int | None = None
  eigenvectors: int = 32


DEFAULT_WALK = Walk()


def see(
  keys: jax.Array, graph: Graph, seeds: jax.Array, walk: Walk, *, dtype: jnp.dtype = jnp.float32
) -> tuple[Subgraphs, Features]:
  """A view of each seed i32[B] by a walk of its own, as `SubgraphEncoder` takes it.

  Args:
    keys: one, or one for each seed, [B].
  """
  *steps, eigenvectors = walk
  names = ("steps", "restart", "max_nodes", "max_hops")
  sub = walk_subgraphs(keys, graph, seeds, **dict(zip(names, steps, strict=True)))
  return sub, structural(sub, eigenvectors=eigenvectors, dtype=dtype)


@partial(jax.jit, static_argnames=("encoder", "walk", "views", "chunk"))
def node_embeddings(
  encoder: nn.Module,
  variables: Any,
  graph: Graph,
  nodes: jax.Array,
  key: jax.Array,
  *,
  walk: Walk = DEFAULT_WALK,
  views: int = 2,
  chunk: int = 64,
) -> jax.Array:
  """f[M, D]: the mean of the vectors of a few views of each node, as GCC embeds.

  Args:
    encoder: a `SubgraphEncoder` or what takes the same; it is evaluated, not trained.
    variables: params and batch_stats.
    nodes: i32[M]; a node's views are drawn from the key by its number, whatever the others are.
    chunk: nodes at a time.
  """
  dtype = jax.tree.leaves(variables["params"])[0].dtype

  def one(node: jax.Array) -> jax.Array:
    keys = jax.random.split(jax.random.fold_in(key, node), views)
    sub, features = see(keys, graph, jnp.broadcast_to(node, (views,)), walk, dtype=dtype)
    return jnp.mean(encoder.apply(variables, sub, features), axis=0)

  return jax.lax.map(one, jnp.asarray(nodes, jnp.int32), batch_size=chunk)
