"""Graphs: an epoch of LightGCN over the same in PyTorch, full ranking over the same in NumPy.

    python -m benchmarks.graph lightgcn FOLDER [--rounds 3] [--steps 0] [--threads 2]
    python -m benchmarks.graph ranking FOLDER [--rounds 5] [--chunk 256]

FOLDER has train.csv and test.csv with the columns user_id and item_id, numbers from 1, as those of
Amazon's Grocery in ReChorus. The sides alternate in one process; the fastest of each counts.

lightgcn: three layers of 64 numbers, batches of 2,048 triples drawn by users, BPR, Adam of 1e-3 on
all embeddings, 1e-4 of the squared norms; --steps: so many of an epoch's steps, 0 all. PyTorch
draws an epoch's triples by vectorised NumPy, and multiplies by `torch.sparse.mm` of either layout;
its autograd transposes the matrix in every step, so it is timed with the matrix itself for the
gradient as well. Then what parts of a step of ours take by themselves.

ranking: the best 20 of all items not taken, recall and NDCG, for all users, of random vectors of 64
numbers. NumPy multiplies, masks, partitions and sorts what is in front. Then the rate of our bare
product of the same vectors, nothing done with the scores.
"""

import argparse
import functools
import pathlib
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.timing import best_time
from vqlab import graph, losses, metrics

DIM, BATCH, PENALTY, TOP = 64, 2048, 1e-4, 20


def interactions(folder: pathlib.Path, name: str) -> tuple[np.ndarray, np.ndarray]:
  rows = np.genfromtxt(folder / f"{name}.csv", delimiter=",", names=True, dtype=np.int64)
  return rows["user_id"] - 1, rows["item_id"] - 1


def best_times(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
  """Seconds: the least of some rounds, in each of which every side has its turn."""
  times = dict.fromkeys(sides, np.inf)
  for _ in range(rounds):
    for name, run in sides.items():
      start = time.perf_counter()
      run()
      times[name] = min(times[name], time.perf_counter() - start)
  return times


def show(times: dict[str, float]) -> None:
  ours, *peers = times
  print(f"{ours}: {times[ours]:.3f} s")
  for name in peers:
    print(f"{name}: {times[name]:.3f} s; ours {times[name] / times[ours]:.1f}x as fast", flush=True)


def lightgcn(args: argparse.Namespace) -> None:
  import torch

  from benchmarks.peers import lightgcn as peer

  torch.set_num_threads(args.threads)
  users, items = interactions(args.folder, "train")
  num_users, num_items = 1 + users.max(), 1 + items.max()
  g = graph.from_interactions(users, items, num_users, num_items)
  steps = args.steps or -(-len(users) // BATCH)
  print(f"{num_users:,} users, {num_items:,} items, {len(users):,} interactions; {steps} steps")
  start = 0.1 * np.random.default_rng(0).standard_normal((g.num_nodes, DIM), np.float32)

  seen, optimizer = graph.propagation(g), optax.adam(1e-3)

  def triples(key: jax.Array, g: graph.Graph) -> jax.Array:
    by_user, *keys = jax.random.split(key, (3, BATCH))
    draw = lambda key: jax.random.randint(key, (), 0, num_users, jnp.int32)
    users = jax.vmap(draw)(by_user)
    good = graph.positives(keys[0], g, users, num_users=num_users)
    bad = graph.negatives(keys[1], g, users, num_users=num_users)[:, 0]
    return jnp.stack([users, num_users + good, num_users + bad])

  def loss(params: jax.Array, seen: graph.Propagation, nodes: jax.Array) -> jax.Array:
    user, good, bad = graph.propagate(seen, params)[nodes]
    score = lambda item: jnp.sum(user * item, axis=1)
    ranked = losses.pairwise(losses.LogitMarginLoss(), score(good), score(bad))
    return jnp.mean(ranked) + PENALTY * jnp.sum(params[nodes] ** 2) / 2 / BATCH

  def update(state: tuple, grad: jax.Array) -> tuple:
    params, adam = state
    change, adam = optimizer.update(grad, adam, params)
    return optax.apply_updates(params, change), adam

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state: tuple, seen: graph.Propagation, key: jax.Array) -> tuple:
    nodes = triples(key, seen.graph)
    return update(state, jax.grad(loss)(state[0], seen, nodes))

  params = jnp.asarray(start)
  state, keys = (params, optimizer.init(params)), list(jax.random.split(jax.random.key(0), steps))

  def ours() -> None:
    nonlocal state
    for key in keys:
      state = step(state, seen, key)
    jax.block_until_ready(state)

  def theirs(layout: str, symmetric: bool) -> Callable[[], None]:
    model = peer.LightGCN(g.indptr, g.indices, start, layout=layout, symmetric=symmetric)
    adam, rng = torch.optim.Adam(model.parameters(), lr=1e-3), np.random.default_rng(0)

    def run() -> None:
      drawn = peer.triples(rng, g.indptr, g.indices, num_users, steps * BATCH)
      drawn = [torch.from_numpy(x).split(BATCH) for x in drawn]
      for batch in zip(*drawn, strict=True):
        adam.zero_grad()
        model.loss(*batch, PENALTY).backward()
        adam.step()

    return run

  state = step(state, seen, keys[0])  # compiles; and a new params, as the old one was donated
  sides = {"vqlab": ours}
  for layout in ("coo", "csr"):
    sides[f"PyTorch, {layout}"] = theirs(layout, False)
    sides[f"PyTorch, {layout}, its matrix for the gradient too"] = theirs(layout, True)
  show(best_times(sides, args.rounds))

  params, nodes = jnp.asarray(start), jax.jit(triples)(keys[0], seen.graph)
  parts = {
    "drawing triples": (triples, (keys[0], seen.graph)),
    "propagation": (graph.propagate, (seen, params)),
    "loss and gradient, both propagations": (jax.value_and_grad(loss), (params, seen, nodes)),
    "Adam": (update, ((params, optimizer.init(params)), params)),
  }
  for name, (function, inputs) in parts.items():
    compiled = jax.jit(function).lower(*inputs).compile()
    seconds = best_time(lambda call=compiled, inputs=inputs: call(*inputs), repeats=20)
    print(f"  {name}: {1e3 * seconds:.2f} ms")


def ranking(args: argparse.Namespace) -> None:
  users, items = interactions(args.folder, "train")
  num_users, num_items = 1 + users.max(), 1 + items.max()
  g = graph.from_interactions(users, items, num_users, num_items)
  held_out = np.full((num_users, 1), -1, np.int32)
  test_users, test_items = interactions(args.folder, "test")
  held_out[test_users, 0] = test_items
  print(f"{num_users:,} users, {num_items:,} items, the best {TOP}, {args.chunk} users at a time")
  rng = np.random.default_rng(0)
  vectors = lambda n: rng.standard_normal((n, DIM), np.float32)
  of_users, of_items = vectors(num_users), vectors(num_items)

  @jax.jit
  def figures(g: graph.Graph, of_users: jax.Array, of_items: jax.Array) -> dict:
    everyone = jnp.arange(num_users, dtype=jnp.int32)
    best, _ = graph.rank_by_vectors(
      everyone, of_users, of_items, g, num_users=num_users, k=TOP, chunk=args.chunk
    )
    return metrics.ranking(best, jnp.asarray(held_out), ks=(TOP,))

  inputs = jax.tree.map(jnp.asarray, (g, of_users, of_items))
  discounts = 1 / np.log2(np.arange(TOP) + 2)
  chunks = [slice(k, k + args.chunk) for k in range(0, num_users, args.chunk)]

  def theirs() -> dict:
    recall, ndcg = np.zeros(num_users), np.zeros(num_users)
    for part in chunks:
      scores = of_users[part] @ of_items.T
      begin, end = g.indptr[:num_users][part], g.indptr[1 : num_users + 1][part]
      rows = np.repeat(np.arange(len(scores)), end - begin)
      scores[rows, g.indices[begin[0] : end[-1]] - num_users] = -np.inf
      best = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
      order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
      hits = np.take_along_axis(best, order, axis=1) == held_out[part]
      recall[part], ndcg[part] = hits.any(1), hits @ discounts
    return {f"recall@{TOP}": recall, f"ndcg@{TOP}": ndcg}

  @jax.jit
  def product(g: graph.Graph, of_users: jax.Array, of_items: jax.Array) -> jax.Array:
    def some(users: jax.Array) -> jax.Array:
      # All the scores of a chunk are written, though one is read.
      return jax.lax.optimization_barrier(users @ of_items.T)[0, 0]

    whole = of_users[: num_users // args.chunk * args.chunk]
    return jax.lax.map(some, whole.reshape(-1, args.chunk, DIM))

  sides = {
    "vqlab": lambda: jax.block_until_ready(figures(*inputs)),
    "NumPy": theirs,
    "the bare product": lambda: jax.block_until_ready(product(*inputs)),
  }
  mine, other, _ = [run() for run in sides.values()]  # compiles
  for name, values in other.items():
    print(f"{name}: {np.mean(mine[name]):.5f}, by NumPy {np.mean(values):.5f}")
  times = best_times(sides, args.rounds)
  bare = times.pop("the bare product")
  show(times)
  print(f"the bare product: {bare:.3f} s; ranking reaches {100 * bare / times['vqlab']:.0f}% of it")


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parts = parser.add_subparsers(required=True)
  for run, rounds in ((lightgcn, 3), (ranking, 5)):
    part = parts.add_parser(run.__name__)
    part.set_defaults(run=run)
    part.add_argument("folder", type=pathlib.Path)
    part.add_argument("--rounds", type=int, default=rounds)
    if run is lightgcn:
      part.add_argument("--steps", type=int, default=0)
      part.add_argument("--threads", type=int, default=2)
    else:
      part.add_argument("--chunk", type=int, default=256)
  args = parser.parse_args()
  args.run(args)


if __name__ == "__main__":
  main()
