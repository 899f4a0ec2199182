"""Random walks and the subgraphs they induce, a second: under jit, by NumPy, in plain Python.

    python -m benchmarks.graph_walks FOLDER [--rounds 5] [--batch 512]

FOLDER is one that `benchmarks.graph` takes; the graph is that of train.csv. Walks of 256 steps that
go back to their seed with probability 0.8, from seeds drawn by degree^0.75; subgraphs of up to 64
nodes. The sides alternate in one process; the fastest of each counts. A round is a batch of seeds;
drawing them is not timed, nor are compiling and making lists of the graph.

walks: `random_walks` under jit, `walks_on_host` (NumPy, all in lockstep), and plain Python.

subgraphs: `walk_subgraphs` under jit, `subgraphs_on_host`, and plain Python. The first two give
dense adjacency, padded; plain Python gives a list of nodes and one of edges, with sets of the
neighbours to find them, and pads nothing.
"""

import argparse
import pathlib
import random
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.graph import best_times, interactions
from benchmarks.peers import walks as peer
from vqlab import graph

STEPS, RESTART, NODES, POWER = 256, 0.8, 64, 0.75


def show(name: str, sides: dict[str, Callable[[], object]], batch: int, rounds: int) -> None:
  times = best_times(sides, rounds)
  *ours, plain = times
  print(f"{name} a second, {batch} at a time; plain Python {batch / times[plain]:,.0f}")
  for side in ours:
    ratio = times[plain] / times[side]
    print(f"  {side}: {batch / times[side]:,.0f}, {ratio:.2f}x as fast", flush=True)


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--batch", type=int, default=512)
  args = parser.parse_args()

  users, items = interactions(args.folder, "train")
  g = graph.from_interactions(users, items, 1 + users.max(), 1 + items.max())
  rng, plain = np.random.default_rng(0), random.Random(0)
  weights = graph.degrees(g) ** POWER
  seeds = rng.choice(g.num_nodes, args.batch, p=weights / weights.sum()).astype(np.int32)
  neighbours = [row.tolist() for row in np.split(g.indices, g.indptr[1:-1])]
  among = list(map(set, neighbours))

  key, device, given = jax.random.key(0), jax.tree.map(jnp.asarray, g), jnp.asarray(seeds)
  how = {"steps": STEPS, "restart": RESTART}
  walks = jax.jit(lambda *inputs: graph.random_walks(*inputs, **how))
  subgraphs = jax.jit(lambda *inputs: graph.walk_subgraphs(*inputs, **how, max_nodes=NODES))
  walks = walks.lower(key, device, given).compile()
  subgraphs = subgraphs.lower(key, device, given).compile()

  ours, host = "vqlab under jit", "vqlab by NumPy"
  one, of_64 = (STEPS, RESTART), {**how, "max_nodes": NODES}
  sides = {
    ours: lambda: jax.block_until_ready(walks(key, device, given)),
    host: lambda: graph.walks_on_host(rng, g, seeds, **how),
    "plain": lambda: [peer.walk(plain, neighbours, s, *one) for s in seeds.tolist()],
  }
  sides_of_subgraphs = {
    ours: lambda: jax.block_until_ready(subgraphs(key, device, given)),
    host: lambda: graph.subgraphs_on_host(rng, g, seeds, **of_64),
    "plain": lambda: [
      peer.subgraph(plain, neighbours, among, s, *one, NODES) for s in seeds.tolist()
    ],
  }
  found, _, alike = [run() for run in sides_of_subgraphs.values()]
  nodes, edges = np.mean(np.sum(found.mask, 1)), np.mean(np.sum(found.adjacency, (1, 2))) / 2
  print(
    f"{g.num_nodes:,} nodes, {g.num_edges // 2:,} edges; a subgraph has {nodes:.1f} nodes and "
    f"{edges:.1f} edges, by plain Python {np.mean([len(x) for x, _ in alike]):.1f} and "
    f"{np.mean([len(x) for _, x in alike]):.1f}"
  )
  show("walks", sides, args.batch, args.rounds)
  show("subgraphs", sides_of_subgraphs, args.batch, args.rounds)


if __name__ == "__main__":
  main()
