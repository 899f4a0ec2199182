"""How users' recommendations are judged: all items ranked, or the held-out one among a few."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train.data import Examples, eval_batches
from train.fields import field
from train.ratings.shop import SPLITS, Shop
from train.task import Batch
from vqlab import graph, metrics
from vqlab.graph import Graph


class Known(NamedTuple):
  """Who took what."""

  train: Graph
  every: Graph  # of all splits: of what negatives of the sampled protocol are none


def known(shop: Shop) -> Known:
  rows = [np.concatenate(x) for x in zip(*map(shop.rows, SPLITS), strict=True)]
  return Known(shop.graph, graph.from_interactions(*rows, shop.num_users, shop.num_items))


@dataclasses.dataclass(frozen=True)
class Judge:
  """Which figures there are."""

  ks: tuple[int, ...] = field((5, 10, 20), least=1)
  """Lengths of the list of recommended items that are judged."""
  negatives: int = field(0, least=0)
  """Also the rank of the first held-out item among so many that its user never took (99 in many
  papers), drawn by the experiment's seed: figures named sampled_...; 0: not."""

  def lengths(self, num_items: int) -> tuple[int, ...]:
    """`ks`, none longer than all items."""
    return tuple(dict.fromkeys(min(k, num_items) for k in sorted(self.ks)))

  def per_user(
    self, scores: jax.Array, batch: Batch, known: Known, num_users: int, seed: int
  ) -> dict[str, jax.Array]:
    """f[B] by name, of scores f[B, I].

    Args:
      batch: as `Users` reads it.
      num_users: of the shop.
      seed: of the negatives that are drawn: those of a user are the same at every evaluation.
    """
    ks = self.lengths(scores.shape[1])
    seen = {"num_users": num_users, "k": ks[-1]}
    items, _ = graph.rank(batch["user"], scores, known.train, also=batch["known"], **seen)
    figures = metrics.ranking(items, batch["held_out"], ks=ks)
    if self.negatives:
      keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(seed), batch["user"])
      keys, ties = jax.vmap(lambda key: jax.random.split(key, 2), out_axes=1)(keys)
      drawn = graph.negatives(
        keys, known.every, batch["user"], num_users=num_users, count=self.negatives
      )
      of = lambda items: jnp.where(items >= 0, jnp.take_along_axis(scores, items, axis=1), -jnp.inf)
      rank = metrics.rank_among(of(batch["held_out"][:, :1])[:, 0], of(drawn), keys=ties)
      sampled = metrics.ranking_of_one(rank, ks=ks)
      figures |= {f"sampled_{name}": each for name, each in sampled.items()}
    return figures


def totals(figures: Mapping[str, jax.Array], batch: Batch) -> dict[str, metrics.Total]:
  """Of users who have something held out, those that fill a batch up not counted."""
  return {name: metrics.total(each, mask=batch["mask"]) for name, each in figures.items()}


def means(sums: Mapping[str, metrics.Total]) -> dict[str, float]:
  return {name: float(metrics.mean(total)) for name, total in sums.items()}


def of_all_users(examples: Examples, batch_size: int, per_user: Any) -> dict[str, np.ndarray]:
  """Every user's figures by name, [M] each, and `user`, their numbers.

  Args:
    per_user: of a batch, {name: f[B]}.
  """
  found: dict[str, list[np.ndarray]] = {}
  for batch in eval_batches(examples, batch_size):
    mask = batch["mask"]
    for name, each in ({"user": batch["user"]} | jax.device_get(per_user(batch))).items():
      found.setdefault(name, []).append(np.asarray(each)[mask])
  return {name: np.concatenate(parts) for name, parts in found.items()}
