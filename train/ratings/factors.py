"""Trains vectors of users and items by ranking: matrix factorisation, or LightGCN over it.

A user's score of an item is the product of their vectors, or their cosine where the loss is one of
cosines. With `layers` the vectors are averaged with those of neighbours (arXiv 2002.02126).
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train import learn
from train.config import TrainingStage
from train.data import Columns
from train.fields import field
from train.learn import State
from train.ratings import judging
from train.ratings.judging import Judge, Known
from train.ratings.rankings import Margin, Ranking
from train.ratings.shop import Shop
from train.ratings.starts import Normal, Start
from train.task import Batch, Report, Run, Splits, Task, reported
from vqlab import graph, metrics

HIGHEST = jax.lax.Precision.HIGHEST


class Vectors(NamedTuple):
  """What users are recommended by: products of these."""

  user: jax.Array  # f[U, D]
  item: jax.Array  # f[I, D]


class Context(NamedTuple):
  """What training and evaluation read."""

  known: Known
  popularity: Any  # graph.Popularity, or () where negatives are drawn alike
  layers: Any  # graph.Propagation, or () without layers


@dataclasses.dataclass(frozen=True)
class FactorStage(TrainingStage):
  """Vectors, what they begin as, how they are trained, and how they are judged."""

  eval_batch_size: int = field(256, least=0, most=2**31 - 1, may_vary=True)
  """Users ranked at once, over all devices, by scores of all items each; 0: batch_size."""
  dim: int = field(64, least=1)
  """Dimensions of the vectors."""
  layers: int = field(0, least=0)
  """LightGCN's layers; 0: matrix factorisation."""
  start: Start = field(Normal())
  ranking: Ranking = field(Margin())
  sample: Literal["interaction", "user"] = field("interaction")
  """What a batch is made of: interactions, each once an epoch; or users, each once an epoch, with
  one of their items (LightGCN draws users, with replacement)."""
  negatives: int = field(1, least=1)
  """Items drawn for each, of those that its user did not take."""
  negatives_by: Literal["uniform", "popularity"] = field("uniform")
  """How likely items are drawn: all alike, or by how often they were taken."""
  popularity_power: float = field(0.75, least=0)
  """Of how often an item was taken (negatives_by=popularity)."""
  penalty: float = field(1e-4, least=0)
  """Weight of half the squared norms of the vectors a batch draws on, before any layers."""
  judge: Judge = field(Judge())

  def make(self, run: Run) -> Task:
    return _task(self, run)


def scored(stage: FactorStage, vectors: Vectors) -> Vectors:
  """The vectors whose products are scores: of length 1 where those are cosines."""
  return Vectors(*map(graph.unit, vectors)) if stage.ranking.cosine else vectors


def ranked(
  stage: FactorStage, user: jax.Array, positive: jax.Array, negatives: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The loss f[B], and the part f[B] of negatives that are scored below what was taken.

  Args:
    user, positive: f[B, D], vectors as they are trained.
    negatives: f[B, K, D].
  """
  if stage.ranking.cosine:
    user, positive, negatives = map(graph.unit, (user, positive, negatives))
  above = jnp.sum(user * positive, axis=-1)
  below = jnp.einsum("bd,bkd->bk", user, negatives, precision=HIGHEST)
  right = jnp.mean((above[:, None] > below).astype(above.dtype), axis=1)
  return stage.ranking.loss(above, below), right


def context_of(stage: FactorStage, shop: Shop) -> Context:
  """What is read of a shop."""
  popularity = layers = ()
  if stage.negatives_by == "popularity":
    popularity = graph.popularity(
      shop.graph, num_users=shop.num_users, power=stage.popularity_power
    )
  if stage.layers:
    layers = graph.propagation(shop.graph, dtype=stage.param_dtype)
  return Context(judging.known(shop), popularity, layers)


def _task(stage: FactorStage, run: Run) -> Task:
  shop = run.splits.target
  users, dtype = shop.num_users, jnp.dtype(stage.param_dtype)
  optimizer, context = learn.optimizer_of(stage), context_of(stage, shop)

  def init(key: jax.Array, context: Context, given: Any = None) -> State:
    shape = (context.known.train.num_nodes, stage.dim)
    vectors = jnp.zeros(shape, dtype)
    if given is not None:
      vectors = stage.start.vectors(run, key, context.known.train, stage.dim, dtype, given)
    vectors = (stage.start.scale * vectors).astype(dtype)
    return learn.initial(optimizer, {"user": vectors[:users], "item": vectors[users:]})

  def spread(params: dict[str, jax.Array], context: Context) -> Vectors:
    if not stage.layers:
      return Vectors(**params)
    nodes = jnp.concatenate([params["user"], params["item"]])
    nodes = graph.propagate(context.layers, nodes, layers=stage.layers)
    return Vectors(nodes[:users], nodes[users:])

  def loss(params, rest, context, batch, key, *, axis_name):
    keys = jax.vmap(lambda key: jax.random.split(key, 2))(learn.keys_of(key, batch))
    user, seen = batch["user"], context.known.train
    if stage.sample == "interaction":
      item = batch["item"]
    else:
      item = graph.positives(keys[:, 0], seen, user, num_users=users)
    by = context.popularity if stage.negatives_by == "popularity" else None
    drawn = graph.negatives(keys[:, 1], seen, user, num_users=users, count=stage.negatives, by=by)
    counts = drawn[:, 0] >= 0  # not who took all there is
    vectors = spread(params, context)
    each, right = ranked(stage, vectors.user[user], vectors.item[item], vectors.item[drawn])
    if stage.penalty:
      before = params["user"][user], params["item"][item], params["item"][drawn]
      norms = [jnp.sum(jnp.square(x.reshape(len(x), -1)), axis=1) for x in before]
      each += stage.penalty / 2 * sum(norms)
    return metrics.total(each, mask=counts), (rest, {"ranked": metrics.total(right, mask=counts)})

  def learned(state: State, context: Context) -> Vectors:
    return scored(stage, spread(learn.learned(state).params, context))

  def per_user(learned: Vectors, context: Context, batch: Batch) -> dict[str, jax.Array]:
    # In float32 where a platform would take fewer bits of it, as `rank_by_vectors` has it.
    scores = jnp.matmul(learned.user[batch["user"]], learned.item.T, precision=HIGHEST)
    return stage.judge.per_user(scores, batch, context.known, users, run.config.seed)

  def evaluate(learned: Vectors, context: Context, batch: Batch) -> dict[str, metrics.Total]:
    return judging.totals(per_user(learned, context, batch), batch)

  def report(learned: Vectors, examples: Splits) -> Report:
    each, (learned, given) = jax.jit(per_user), jax.device_put((learned, context))
    rows = stage.eval_batch_size or stage.batch_size
    found = judging.of_all_users(
      reported(examples), rows, lambda batch: each(learned, given, batch)
    )
    return Report(files={"users.npz": found})

  return Task(
    init=init,
    step=learn.step_of(loss, optimizer, accumulate=stage.accumulate),
    evaluate=evaluate,
    figures=judging.means,
    best=f"+ndcg@{stage.judge.lengths(shop.num_items)[-1]}",
    examples=lambda: _examples(stage, shop),
    spec={"user": jax.ShapeDtypeStruct((), np.int32)}
    | ({"item": jax.ShapeDtypeStruct((), np.int32)} if stage.sample == "interaction" else {}),
    learned=learned,
    report=report,
    context=context,
    start=lambda: stage.start.given(run, stage.dim),
  )


def _examples(stage: FactorStage, shop: Shop) -> Splits:
  found = shop.examples()
  if stage.sample == "user":
    users = np.unique(found["train"].columns["user"])
    found["train"] = Columns({"user": users}, name=f"{shop.name} users")
  return found
