"""Pre-trains an encoder of nodes by contrast (vqlab/graph/pcrec.py, GCC, arXiv 2006.09963).

Of every seed two walks are made; the vector of the one is to be told from those of other seeds by
the vector of the other. Others are the keys of a queue that a slow average of the encoder fills
(MoCo), or the rest of the batch.
"""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train import learn
from train.config import TrainingStage
from train.data import Columns, Examples
from train.fields import field
from train.learn import Learned, State
from train.ratings import probing
from train.ratings.encoder import Encoder
from train.ratings.shop import Shop
from train.task import Batch, Report, Run, Splits, Task
from vqlab import losses, metrics
from vqlab.graph import Graph, moco, pcrec


class Rest(NamedTuple):
  """What training changes besides the parameters."""

  stats: Any  # batch_stats of the encoder
  key_params: Any  # the average that encodes keys; () where keys are the encoder's own
  key_stats: Any  # its batch_stats
  queue: Any  # moco.Queue


class Sums(NamedTuple):
  """What an evaluation adds up."""

  contrast: metrics.Total  # nats
  matched: metrics.Total


@dataclasses.dataclass(frozen=True)
class PretrainStage(TrainingStage):
  """The encoder, the contrast, and which shop's nodes it is between."""

  eval_batch_size: int = field(256, least=2, most=2**31 - 1)
  """Held-out nodes at once, over all devices: each is told from the others of its batch."""
  on: Literal["source", "target"] = field("source")
  """The shop whose training interactions are the graph."""
  encoder: Encoder = field(Encoder())
  objective: Literal["moco", "in_batch"] = field("moco")
  """moco: against a queue of keys; in_batch: against the others of the batch (GCC's "E2E")."""
  queue: int = field(16384, least=1)
  """Keys in the queue (objective=moco)."""
  momentum: float = field(0.999, least=0, most=1)
  """What the average of the encoder keeps of itself in a step (objective=moco)."""
  temperature: float = field(0.07, least=1e-6)
  """What products of vectors are divided by."""
  mask_same_seed: bool = field(True)
  """Leave out keys of a query's own seed among its negatives; GCC's code does not."""
  seed_power: float = field(0.75, least=0)
  """Nodes are drawn as seeds in proportion to this power of their degree, with replacement."""
  eval_seeds: int = field(1024, least=2)
  """Nodes of the held-out figures, as many as make whole batches of eval_batch_size."""
  probe_nodes: int = field(4000, least=0, may_vary=True)
  """Nodes of the target by whose vectors a linear probe tells degrees and core numbers, half of
  them to learn from, when training is done; 0: no probe."""

  def make(self, run: Run) -> Task:
    if self.accumulate > 1:
      raise ValueError("accumulate must be 1: a part of a batch would have its own statistics")
    if self.objective == "moco" and self.batch_size > self.queue:
      raise ValueError(f"queue is {self.queue}; it must be at least batch_size, {self.batch_size}")
    return _task(self, run)


class Seeds(Examples):
  """Nodes of a graph, drawn with replacement in proportion to a power of their degrees."""

  def __init__(self, shop: Shop, power: float):
    weights = np.diff(shop.graph.indptr).astype(np.float64)
    weights = np.where(weights > 0, weights**power, 0)
    self._below, self.name = np.cumsum(weights / weights.sum()), f"{shop.name} seeds"

  def __len__(self) -> int:
    return len(self._below)

  def read(self, indices: np.ndarray, draws: np.ndarray | None) -> dict[str, Any]:
    seeds = indices
    if draws is not None:
      seeds = np.searchsorted(self._below, draws * 2.0**-64 * self._below[-1], side="right")
    return {"seed": np.minimum(seeds, len(self) - 1).astype(np.int32)}


def _examples(stage: PretrainStage, shop: Shop) -> Splits:
  nodes = np.flatnonzero(np.diff(shop.graph.indptr)).astype(np.int32)
  count, rows = min(stage.eval_seeds, len(nodes)), stage.eval_batch_size
  count = count // rows * rows or count  # in a smaller batch it would be easier
  chosen = np.random.default_rng(0).permutation(nodes)[:count]
  held_out = Columns({"seed": np.sort(chosen)}, name=f"{shop.name} nodes")
  return {"train": Seeds(shop, stage.seed_power), "eval": held_out}


def _task(stage: PretrainStage, run: Run) -> Task:
  shop = getattr(run.splits, stage.on)
  model, optimizer = stage.encoder.make(stage.param_dtype), learn.optimizer_of(stage)
  # Of keys nothing is dropped, as GCC has it: only their norms are in training.
  of_keys = model.clone(graph=model.graph.clone(dropout=0.0))
  walk, dtype = stage.encoder.walk.make(), jnp.dtype(stage.param_dtype)
  contrast = {"temperature": stage.temperature}

  def views(key: jax.Array, graph: Graph, batch: Batch):
    """Two of each seed, by walks of their own."""
    keys = jax.vmap(lambda key: jax.random.split(key, 2))(learn.keys_of(key, batch))
    # Side by side, so that devices keep their own; and seen at once, as one batch of matrices.
    both = pcrec.see(keys.ravel(), graph, jnp.repeat(batch["seed"], 2), walk, dtype=dtype)
    return [jax.tree.map(lambda x, i=i: x[i::2], both) for i in range(2)]

  def init(key: jax.Array, graph: Graph) -> State:
    keys = jax.random.split(key, 3)
    seen = pcrec.see(keys[1], graph, jnp.zeros(2, jnp.int32), walk, dtype=dtype)
    made = model.init(keys[0], *seen)
    params, stats = made["params"], made["batch_stats"]
    if stage.objective == "in_batch":
      return learn.initial(optimizer, params, Rest(stats, (), (), ()))
    queue = moco.init_queue(keys[2], stage.queue, stage.encoder.dim, dtype)
    copy = functools.partial(jax.tree.map, jnp.copy)
    return learn.initial(optimizer, params, Rest(stats, copy(params), copy(stats), queue))

  def loss(params, rest, graph, batch, key, *, axis_name):
    seeds, rows = batch["seed"], batch["index"]
    key, dropped = jax.random.split(key)
    seen = views(key, graph, batch)

    def encode(params, stats, view: int, model=model):
      return model.apply(
        {"params": params, "batch_stats": stats},
        *seen[view],
        train=True,
        axis_name=axis_name,
        rows=rows,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.fold_in(dropped, view)},
      )

    query, changed = encode(params, rest.stats, 0)
    if stage.objective == "in_batch":
      other, changed = encode(params, changed["batch_stats"], 1)
      own, ids = jnp.arange(len(seeds), dtype=jnp.int32), seeds
      if axis_name is not None:
        own += jax.lax.axis_index(axis_name).astype(jnp.int32) * len(seeds)
        other, ids = jax.lax.all_gather((other, ids), axis_name, tiled=True)
      where = ids != seeds[:, None] if stage.mask_same_seed else None
      each = losses.in_batch_info_nce(query, other, positive=own, where=where, **contrast)
      rest = rest._replace(stats=changed["batch_stats"])
    else:
      key_params = moco.ema(rest.key_params, params, momentum=stage.momentum)
      other, key_changed = encode(key_params, rest.key_stats, 1, of_keys)
      other = jax.lax.stop_gradient(other)
      where = moco.others(rest.queue, seeds) if stage.mask_same_seed else None
      each = losses.info_nce(query, other, rest.queue.keys, where=where, **contrast)
      queue = moco.enqueue(rest.queue, other, seeds, axis_name=axis_name)
      rest = Rest(changed["batch_stats"], key_params, key_changed["batch_stats"], queue)
    return metrics.total(each), (rest, {})

  def evaluate(learned: Learned, graph: Graph, batch: Batch) -> Sums:
    variables = {"params": learned.params, "batch_stats": learned.rest.stats}
    query, other = (
      model.apply(variables, *seen) for seen in views(jax.random.key(0), graph, batch)
    )
    counts = batch["mask"]
    where = counts & (batch["seed"] != batch["seed"][:, None])
    each = losses.in_batch_info_nce(query, other, where=where, **contrast)
    own = jnp.sum(query * other, axis=1)
    products = jnp.matmul(query, other.T, precision=jax.lax.Precision.HIGHEST)
    best = jnp.max(jnp.where(where, products, -jnp.inf), axis=1)
    return Sums(
      metrics.total(each, mask=counts), metrics.total((own > best).astype(dtype), mask=counts)
    )

  def report(learned: Learned, examples: Splits) -> Report:
    if not stage.probe_nodes:
      return Report()
    variables = {"params": learned.params, "batch_stats": learned.rest.stats}
    started = init(jax.random.key(0), shop.graph)
    untrained = {"params": started.params, "batch_stats": started.rest.stats}
    encoders = {"": variables, "_untrained": untrained}
    embed = functools.partial(pcrec.node_embeddings, model, walk=walk, key=jax.random.key(0))
    return Report(probing.probed(encoders, embed, run.splits.target.graph, stage.probe_nodes))

  return Task(
    init=init,
    step=learn.step_of(loss, optimizer),
    evaluate=evaluate,
    figures=lambda sums: {k: float(metrics.mean(total)) for k, total in sums._asdict().items()},
    best="-contrast",
    examples=functools.cache(lambda: _examples(stage, shop)),
    spec={"seed": jax.ShapeDtypeStruct((), np.int32)},
    report=report,
    context=shop.graph,
    model=model,
  )
