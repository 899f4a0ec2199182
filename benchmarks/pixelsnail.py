"""Sampling from PixelSNAIL: with the cache, naively, and as rosinality does it in PyTorch.

Naively is the whole map for every position, in JAX. In PyTorch it is the network on rows 0..i for
every position of row i, as rosinality's sample.py runs it; of its own code nothing is run here: the
network is benchmarks/peers/pixelsnail.py, with the weights normalised once instead of in every
call, which is in its favour. All positions of a row cost it the same, so that it is timed once in a
few rows, and the others are interpolated: its time is extrapolated, and so is the naive one's.

The floor is the time to read the weights from memory once a position and once a row at a bandwidth
measured in the same run (a sum over 1 GB on all cores), as if no cache of the CPU kept any of them.
With a batch it is the arithmetic that takes the time. Seconds are those of all the batch's maps.
"""

import argparse
import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import bandwidth, best_time, naive_seconds, print_row
from vqlab.priors import PixelSNAIL, sample

# What PyTorch's and vqlab's networks are made of: rosinality's defaults, and a small one.
SIZES = {
  "full": {"channels": 256, "hidden": 256, "blocks": 4, "layers": 4},
  "small": {"channels": 64, "hidden": 64, "blocks": 2, "layers": 3},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  group = parser.add_argument_group("PixelSNAIL")
  group.add_argument("--snail-sizes", nargs="+", default=["small", "full"], choices=list(SIZES))
  group.add_argument("--snail-batches", type=int, nargs="+", default=[1, 16])
  group.add_argument("--snail-map", type=int, default=32, help="H = W")
  group.add_argument("--peer-rows", type=int, default=4, help="rows timed in PyTorch, 2 or more")


def compare(args: argparse.Namespace) -> None:
  """The table of PixelSNAIL, and the floors."""
  n = args.snail_map
  speed = bandwidth()
  print(f"PixelSNAIL, float32, a map of {n}x{n}; memory is read at {speed / 1e9:.1f} GB/s")
  header = ("size", "batch", "cached s", "us/position", "naive s", "ratio", "timed")
  print_row((*header, "PyTorch s", "ratio", "timed rows", "floor s", "above floor"))
  for size in args.snail_sizes:
    fields = SIZES[size]
    model = PixelSNAIL(
      channels=fields["channels"],
      res_channels=fields["hidden"],
      num_blocks=fields["blocks"],
      num_res_blocks=fields["layers"],
    )
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8), jnp.int32))["params"]
    a_position, a_row = weight_bytes(params)
    count = sum(x.size for x in jax.tree.leaves(params))
    read = f"{a_position / 1e6:.1f} MB a position, {a_row / 1e6:.1f} MB a row"
    print(f"{size}: {count / 1e6:.1f} M parameters; weights read: {read}")
    floor = (n * n * a_position + n * a_row) / speed
    for batch in args.snail_batches:
      shape = (batch, n, n)

      def cached(shape=shape, model=model, params=params) -> jax.Array:
        return sample(jax.random.key(1), model, params, shape)

      jax.block_until_ready(cached())  # compiles
      fast = best_time(cached, repeats=args.repeats)
      slow, timed = naive_seconds(model, params, shape, budget=args.naive_seconds)
      slow *= n * n
      row = [size, str(batch), f"{fast:.2f}", f"{1e6 * fast / n**2:,.0f}"]
      row += [f"{slow:,.0f}", f"{slow / fast:,.0f}x", f"{timed} of {n**2}"]
      peer, rows = peer_seconds(shape, fields, args.peer_rows)
      row += [f"{peer:,.0f}", f"{peer / fast:,.0f}x", f"{rows} of {n}"]
      print_row([*row, f"{floor:.2f}", f"{fast / floor:.1f}x"])


def weight_bytes(params: dict) -> tuple[int, int]:
  """Bytes of weights that a position and the beginning of a row read; of tables, none."""
  row = [params[name]["above"] for name in ("first", "second")]
  position = [params[name]["left"] for name in ("first", "second")]
  position += [
    params[name] for name in params if name.startswith(("blocks_", "out_blocks_", "to_logits"))
  ]
  return tuple(sum(x.nbytes for x in jax.tree.leaves(part)) for part in (position, row))


def peer_seconds(shape: tuple[int, ...], fields: dict, num_rows: int) -> tuple[float, int]:
  """Seconds that PyTorch takes for all maps of a batch, and the number of rows it was timed in."""
  import torch

  from benchmarks.peers.pixelsnail import PixelSNAIL as Peer

  torch.manual_seed(0)
  H, W = shape[1:]
  model = Peer((H, W), **fields).eval()
  model.fold()
  codes = torch.randint(512, shape)
  rows = np.unique(np.linspace(0, H - 1, num_rows).round().astype(int))
  times = []
  with torch.no_grad():
    model(codes[:, :1])  # what is done but once
    for row in rows:
      tries = []
      # The fastest counts. On busy cores one thread beats threads that wait for one another.
      while len(tries) < 2 or (len(tries) < 4 and sum(tries) < 5):
        torch.set_num_threads(1 if len(tries) % 2 else os.cpu_count())
        start = time.perf_counter()
        logits = model(codes[:, : row + 1])[:, :, row, 0]
        codes[:, row, 0] = torch.multinomial(logits.softmax(1), 1)[:, 0]
        tries.append(time.perf_counter() - start)
      times.append(min(tries))
  return W * float(np.interp(np.arange(H), rows, times).sum()), len(rows)
