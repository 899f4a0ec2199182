"""Drawing sound from a WaveNet: with queues, and naively, beside the floor of reading weights.

    python -m benchmarks.wavenet                    # both sizes, batch 1 and 16
    python -m benchmarks.wavenet --sizes small --batches 1

Sequences of 4,096 samples (mu law, 256 codes) of untrained networks, with local conditions (a frame
of 64 samples) and a speaker; time does not depend on weights. Naively is the network over the whole
sequence for every sample; it is timed over a part of the samples, the number in the last column.
"small" is the decoder of configs/spoken_digits.py, "paper" that of configs/vctk.py. The floor is
the time that memory takes to give the weights of a position once, where they do not stay in caches.

Required on two CPU cores: with queues at least 100 times faster than naively.
"""

import argparse
import os

import jax
import jax.numpy as jnp

from benchmarks.timing import bandwidth, best_time, naive_seconds, print_row
from vqlab.priors import SequenceConditions, WaveNet, sample

SIZES = {
  "small": {"channels": 48, "skip_channels": 64, "hidden": 128, "num_layers": 16, "cycle": 8},
  "paper": {"channels": 256, "skip_channels": 256, "hidden": 256, "num_layers": 30, "cycle": 10},
}
FRAME, FEATURES, SPEAKERS = 64, 64, 4


def compare(name: str, batch: int, length: int, args: argparse.Namespace, rate: float) -> None:
  """A line of the table."""
  model = WaveNet(label_sizes=(SPEAKERS,), local_features=FEATURES, hop=FRAME, **SIZES[name])
  local = jnp.zeros((batch, -(-length // FRAME), FEATURES))
  cond = SequenceConditions((jnp.zeros(batch, jnp.int32),), local)
  first = jax.tree.map(lambda x: x[:1], cond)
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, length), jnp.int32), first)
  params, shape = params["params"], (batch, length)

  def cached() -> jax.Array:
    return sample(jax.random.key(1), model, params, shape, cond=cond)

  jax.block_until_ready(cached())  # compiles
  fast = best_time(cached, repeats=args.repeats) / length
  slow, timed = naive_seconds(model, params, shape, budget=args.naive_seconds, cond=cond)
  # Of the tables a position reads rows; conditions are multiplied once a frame, before.
  tables = ("embed", "local", "labels_0")
  read = sum(x.nbytes for k, v in params.items() if k not in tables for x in jax.tree.leaves(v))
  print_row(
    (
      name,
      f"{batch}",
      f"{batch / fast:,.0f}",
      f"{1e6 * fast:,.0f}",
      f"{1e6 * read / rate:,.0f}",
      f"{1e3 * slow:,.0f}",
      f"{slow / fast:,.0f}x",
      f"{timed} of {length}",
    )
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
  parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
  parser.add_argument("--length", type=int, default=4096)
  parser.add_argument("--repeats", type=int, default=3, help="cached runs, the fastest counts")
  parser.add_argument("--naive-seconds", type=float, default=10.0)
  args = parser.parse_args()
  rate = bandwidth()
  print(
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, memory gives {rate / 1e9:.1f} GB/s"
  )
  print_row(
    ("network", "batch", "samples/s", "us/position", "floor us", "naive ms", "ratio", "timed")
  )
  for name in args.sizes:
    for batch in args.batches:
      compare(name, batch, args.length, args, rate)


if __name__ == "__main__":
  main()
