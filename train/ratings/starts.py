"""What the vectors of users and items begin as, as parts of configs."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from train.errors import BadInput
from train.fields import field
from train.ratings.encoder import Encoder
from train.ratings.pretrain import PretrainStage
from train.ratings.shop import Shop
from train.task import Finished, Run
from vqlab.graph import Graph, pcrec


@dataclasses.dataclass(frozen=True)
class Start:
  """What every start has."""

  scale: float = field(0.1, least=0)
  """What its vectors are multiplied by."""

  def given(self, run: Run, dim: int) -> Any:
    """Arrays that `vectors` needs besides the target's graph, read on the host.

    Raises:
      BadInput: its vectors have not `dim` dimensions.
    """
    return ()

  def vectors(
    self, run: Run, key: jax.Array, graph: Graph, dim: int, dtype: DTypeLike, given: Any
  ) -> jax.Array:
    """f[N, D] of all nodes, users before items, unscaled; traced."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Normal(Start):
  """Normal numbers, LightGCN's with a deviation of 0.1."""

  def vectors(self, run, key, graph, dim, dtype, given):
    return jax.random.normal(key, (graph.num_nodes, dim), dtype)


@dataclasses.dataclass(frozen=True)
class Untrained(Start):
  """Vectors that an encoder gives the target's nodes before it has learned anything."""

  scale: float = field(1.0, least=0)
  """What its vectors, of length 1 at most, are multiplied by."""
  encoder: Encoder = field(Encoder())

  def given(self, run, dim):
    return _check(self.encoder, dim)

  def vectors(self, run, key, graph, dim, dtype, given, nodes=None):
    model, walk, keys = self.encoder.make(dtype), self.encoder.walk.make(), jax.random.split(key, 3)
    seen = pcrec.see(keys[0], graph, jnp.zeros(2, jnp.int32), walk, dtype=dtype)
    return _embedded(model, model.init(keys[1], *seen), graph, keys[2], walk, nodes)


@dataclasses.dataclass(frozen=True)
class Encoded(Start):
  """Vectors that a pre-trained encoder gives the target's nodes: PCRec's."""

  scale: float = field(1.0, least=0)
  """What its vectors, of length 1 at most, are multiplied by."""
  run: str = field("", may_vary=True)
  """Folder of a finished run whose encoder it is; empty: this run's own."""

  def done(self, run: Run) -> Finished:
    """The stage that trained the encoder."""
    return _loaded(self.run) if self.run else run.the(PretrainStage)

  def given(self, run, dim):
    done = self.done(run)
    _check(done.stage.encoder, dim)
    return {"params": done.learned.params, "batch_stats": done.learned.rest.stats}

  def vectors(self, run, key, graph, dim, dtype, given, nodes=None):
    done = self.done(run)
    return _embedded(done.model, given, graph, key, done.stage.encoder.walk.make(), nodes)


@dataclasses.dataclass(frozen=True)
class Carried(Encoded):
  """Vectors of the source's own nodes, each given to the target's node of the same rank by degree.

  Users get those of users and items those of items; the encoder never sees the target.
  """

  def given(self, run, dim):
    shops = run.splits
    return super().given(run, dim), shops.source.graph, _of_same_rank(shops.source, shops.target)

  def vectors(self, run, key, graph, dim, dtype, given):
    variables, source, nodes = given
    return super().vectors(run, key, source, dim, dtype, variables)[nodes]


def _check(encoder: Encoder, dim: int) -> tuple:
  if encoder.dim != dim:
    raise BadInput(
      f"start: dim is {dim}, but the encoder's vectors have {encoder.dim}; set one to the other"
    )
  return ()


@functools.cache  # `vectors` is traced, where nothing can be loaded
def _loaded(folder: str) -> Finished:
  from train.run import load

  return load(folder).the(PretrainStage)


def _embedded(model, variables, g: Graph, key, walk: pcrec.Walk, nodes=None) -> jax.Array:
  """f[M, D] of nodes i32[M]; None: all."""
  nodes = jnp.arange(g.num_nodes, dtype=jnp.int32) if nodes is None else nodes
  return pcrec.node_embeddings(model, variables, g, nodes, key, walk=walk)


def _of_same_rank(source: Shop, target: Shop) -> np.ndarray:
  """i32[N]: for each node of the target, that of the source at the same quantile of degrees."""
  found = []
  for first, other, count, count_of in (
    (0, 0, target.num_users, source.num_users),
    (target.num_users, source.num_users, target.num_items, source.num_items),
  ):
    ours = np.argsort(np.diff(target.graph.indptr)[first : first + count], kind="stable")
    theirs = np.argsort(np.diff(source.graph.indptr)[other : other + count_of], kind="stable")
    places = np.empty(count, np.int32)
    places[ours] = other + theirs[(np.arange(count) * count_of) // count]
    found.append(places)
  return np.concatenate(found)
