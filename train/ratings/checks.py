"""What needs no training and every recommender should be above: popularity, chance, item-kNN.

Each scores all items for every user, and is judged as what a `FactorStage` learned.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from train import parallel
from train.config import Stage
from train.errors import Preempted
from train.fields import field
from train.ratings import judging
from train.ratings.judging import Judge
from train.ratings.shop import Shop
from train.report import read_npz, write_npz
from train.task import Run, Work, reported

CHECKS = ("popularity", "random", "item_knn")
Figures = dict[str, np.ndarray]  # of each user, [M] by name, and `user`
_CHUNK = 1024  # items whose similarities are computed at a time


@dataclasses.dataclass(frozen=True)
class ChecksStage(Stage):
  """Figures of scores that are not learned; of each user as STAGE/popularity.npz, and so on."""

  batch_size: int = field(256, least=1, may_vary=True)
  """Users judged at a time."""
  neighbours: int = field(100, least=1)
  """Items like each item that count (item-kNN)."""
  judge: Judge = field(Judge())

  def make(self, run: Run) -> Work:
    def work(folder: pathlib.Path, stop: Callable[[], bool]) -> None:
      shop = run.splits.target
      known, examples = jax.device_put(judging.known(shop)), reported(shop.examples())
      per_user = jax.jit(self.judge.per_user, static_argnums=(3, 4))
      for name, scores_of in self.scorers(shop, run.config.seed).items():
        if stop():
          raise Preempted("the checks stopped between two of them")
        if jax.process_index() == 0:
          of_batch = lambda x, scores_of=scores_of: per_user(
            scores_of(x["user"]), x, known, shop.num_users, run.config.seed
          )
          found = judging.of_all_users(examples, self.batch_size, of_batch)
          write_npz(folder / f"{name}.npz", **found)
      parallel.wait_for_all("checks done")

    def what() -> str:
      shop = run.about["target"]
      return f"popularity, chance and item-kNN of {shop['users']:,} users, {shop['items']:,} items"

    return Work(run=work, open=_opened, figures=_figures, what=what)

  def scorers(self, shop: Shop, seed: int) -> dict[str, Callable[[np.ndarray], jax.Array]]:
    """By name, of users i32[B] the scores f32[B, I] of all items."""
    taken = rows_of(shop)
    popularity = jnp.asarray(taken.sum(axis=0), jnp.float32)
    similar = similarities(taken, self.neighbours)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))

    @jax.jit
    def chance(users: jax.Array) -> jax.Array:
      return jax.vmap(lambda key: jax.random.uniform(key, popularity.shape))(
        keys(jax.random.key(seed), users)
      )

    popular = lambda users: jnp.broadcast_to(popularity, (len(users), shop.num_items))
    knn = lambda users: jnp.asarray((taken[users] @ similar).toarray())
    return dict(zip(CHECKS, (popular, chance, knn), strict=True))


def rows_of(shop: Shop) -> sparse.csr_array:
  """f32[U, I]: 1 where a user took an item, in training."""
  user, item = shop.rows("train")
  shape = (shop.num_users, shop.num_items)
  return sparse.csr_array((np.ones(len(user), np.float32), (user, item)), shape)


def similarities(taken: sparse.csr_array, neighbours: int) -> sparse.csr_array:
  """f32[I, I]: of each item in its row the cosines of those most like it, of itself none.

  Items are alike whose columns are. A user's score of an item is the sum, over what he took, of the
  rows (Deshpande and Karypis 2004). Of equal cosines the items of lower numbers are kept.
  """
  lengths = np.sqrt(np.maximum(taken.multiply(taken).sum(axis=0), 1e-12))
  columns = (taken / lengths).tocsc().astype(np.float32)
  parts = []
  for first in range(0, columns.shape[1], _CHUNK):
    some = (columns[:, first : first + _CHUNK].T @ columns).tocsr()
    some.sort_indices()
    row = np.repeat(np.arange(some.shape[0]), np.diff(some.indptr))
    other = some.indices != row + first
    row, item, cosine = row[other], some.indices[other], some.data[other]
    order = np.lexsort((item, -cosine, row))
    row, item, cosine = row[order], item[order], cosine[order]
    begin = np.searchsorted(row, np.arange(some.shape[0]))
    kept = np.arange(len(row)) - begin[row] < neighbours
    parts.append(sparse.csr_array((cosine[kept], (row[kept], item[kept])), some.shape))
  return sparse.vstack(parts, format="csr")


def _opened(folder: pathlib.Path) -> dict[str, Figures]:
  """The figures of every user by the check."""
  return {name: read_npz(folder / f"{name}.npz") for name in CHECKS}


def _figures(found: dict[str, Figures]) -> dict[str, float]:
  return {
    f"{check}_{name}": float(np.mean(each, dtype=np.float64))
    for check, figures in found.items()
    for name, each in figures.items()
    if name != "user"
  }
