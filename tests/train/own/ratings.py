"""A stranger's config: who took what, by matrix factorisation with BPR (arXiv 1205.2618).

    python -m train fit tests/train/own/ratings.py --workdir runs/ratings --data.path FOLDER

FOLDER has train.npz and eval.npz with columns user and item: the interactions to train on, and one
of every user, in order, to recommend.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train import learn
from train.config import Experiment, Log, Source, TrainingStage
from train.data import Columns
from train.data.fingerprint import fingerprint
from train.fields import field
from train.optimizer import Adam
from train.task import Report, Run, Splits, Task
from vqlab import losses, metrics


@dataclasses.dataclass(frozen=True)
class Interactions(Source):
  """Columns in files."""

  path: str = field("", may_vary=True)
  """Folder of the files."""

  def prepare(self) -> str:
    root = pathlib.Path(self.path)
    return fingerprint(root, [root / "train.npz", root / "eval.npz"])

  def open(self) -> dict[str, Columns]:
    return {x: Columns.read_npz(pathlib.Path(self.path) / f"{x}.npz") for x in ("train", "eval")}

  def about(self, splits: dict[str, Columns]) -> dict[str, Any]:
    items = [int(x.columns["item"].max()) for x in splits.values()]
    return {"users": len(splits["eval"]), "items": 1 + max(items)}


@dataclasses.dataclass(frozen=True)
class FactorStage(TrainingStage):
  """A vector for each user and each item."""

  dim: int = field(16, least=1)
  """Dimensions of the vectors."""
  penalty: float = field(1e-3, least=0)
  """Weight of the squared norms of the vectors of a batch."""
  top: int = field(10, least=1)
  """Items recommended, of which recall is measured."""

  def make(self, run: Run) -> Task:
    users, items = run.about["users"], run.about["items"]
    optimizer, bpr = learn.optimizer_of(self), losses.LogitMarginLoss()
    taken = run.splits["train"].columns
    seen = np.zeros((users, items), bool)
    seen[taken["user"], taken["item"]] = True

    def init(key: jax.Array, context: Any) -> learn.State:
      draw = lambda key, n: 0.1 * jax.random.normal(key, (n, self.dim), self.param_dtype)
      keys = jax.random.split(key)
      return learn.initial(optimizer, {"user": draw(keys[0], users), "item": draw(keys[1], items)})

    def loss(params, rest, context, batch, key, *, axis_name):
      draw = lambda key: jax.random.randint(key, (), 0, items, jnp.int32)
      drawn = jax.vmap(draw)(learn.keys_of(key, batch))
      user, good = params["user"][batch["user"]], params["item"][batch["item"]]
      bad = params["item"][drawn]
      score = lambda item: jnp.sum(user * item, axis=-1)
      norms = sum(jnp.sum(x**2, axis=-1) for x in (user, good, bad))
      ranked = losses.pairwise(bpr, score(good), score(bad))
      right = metrics.total((score(good) > score(bad)).astype(self.param_dtype))
      return metrics.total(ranked + self.penalty * norms), (rest, {"ranked_right": right})

    def evaluate(learned: learn.Learned, seen: jax.Array, batch: dict) -> metrics.Total:
      """Every user's held-out item among all that were not taken already."""
      scores = learned.params["user"][batch["user"]] @ learned.params["item"].T
      scores = jnp.where(seen[batch["user"]], -jnp.inf, scores)
      own = jnp.take_along_axis(scores, batch["item"][:, None], axis=1)
      rank = jnp.sum(scores > own, axis=1)
      return metrics.total((rank < self.top).astype(self.param_dtype), mask=batch["mask"])

    def report(learned: learn.Learned, examples: Splits) -> Report:
      scores = np.where(seen, -np.inf, learned.params["user"] @ learned.params["item"].T)
      best = np.argsort(-scores, axis=1)[:, : self.top]
      return Report(files={"recommended.csv": [["user", "items"], *enumerate(best.tolist())]})

    return Task(
      init=init,
      step=learn.step_of(loss, optimizer, accumulate=self.accumulate),
      evaluate=evaluate,
      figures=lambda sums: {f"recall@{self.top}": float(metrics.mean(sums))},
      best=f"+recall@{self.top}",
      examples=lambda: run.splits,
      spec={"user": jax.ShapeDtypeStruct((), np.int32), "item": jax.ShapeDtypeStruct((), np.int32)},
      report=report,
      context=seen,
    )


def get_config() -> Experiment:
  lengths = {"steps": 200, "batch_size": 128, "eval_batch_size": 32, "eval_every": 50}
  stage = FactorStage(**lengths, optimizer=Adam(learning_rate=0.02))
  return Experiment("ratings", data=Interactions(), stages={"factors": stage}, log=Log(every=20))
