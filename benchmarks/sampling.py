"""Sampling from a PixelCNN and from a PixelSNAIL: with the cache, and naively.

    python -m benchmarks.sampling                       # both tables
    python -m benchmarks.sampling --models pixelcnn --sizes 8 16 --channels 64 --dtype bfloat16
    python -m benchmarks.sampling --models pixelsnail --snail-sizes full --snail-batches 1

PixelCNN (K=512, 128 channels, 12 layers, batch 16): naively is the whole map for every position.
Both methods draw the same codes from the same untrained model (time does not depend on weights),
in the same run. A naive position costs the same wherever it is, so a naive run that would take
longer than `--naive-seconds` is timed over some of its positions, the number in the last column.
PixelSNAIL: see benchmarks/pixelsnail.py, which also has the sampling of its PyTorch original.

Required on two CPU cores, at 32x32: PixelCNN with batch 16 is at least 100 times faster with the
cache than naively (the ratio grows with the area), and so is PixelSNAIL with batch 1 than its
PyTorch original.
"""

import argparse
import os

import jax
import jax.numpy as jnp

from benchmarks import pixelsnail
from benchmarks.timing import best_time, naive_seconds, print_row
from vqlab.priors import PixelCNN, sample

MODELS = ["pixelcnn", "pixelsnail"]


def pixelcnn(args: argparse.Namespace) -> None:
  """The table of PixelCNN."""
  model = PixelCNN(
    num_codes=args.codes,
    channels=args.channels,
    num_layers=args.layers,
    kernel_size=args.kernel,
    hidden=args.hidden,
    dtype=jnp.dtype(args.dtype),
  )
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8), jnp.int32))["params"]
  count = sum(x.size for x in jax.tree.leaves(params))
  print(f"PixelCNN, {args.dtype}, batch {args.batch}, {count / 1e6:.1f} M parameters")
  header = (
    "map",
    "cached codes/s",
    "us/position",
    "naive codes/s",
    "ms/position",
    "ratio",
    "timed",
  )
  print_row(header)
  for size in args.sizes:
    shape = (args.batch, size, size)

    def cached(shape: tuple[int, ...] = shape) -> jax.Array:
      return sample(jax.random.key(1), model, params, shape)

    jax.block_until_ready(cached())  # compiles
    fast = best_time(cached, repeats=args.repeats) / size**2
    slow, timed = naive_seconds(model, params, shape, budget=args.naive_seconds)
    row = (
      f"{size}x{size}",
      f"{args.batch / fast:,.0f}",
      f"{1e6 * fast:,.0f}",
      f"{args.batch / slow:,.2f}",
      f"{1e3 * slow:,.1f}",
      f"{slow / fast:,.0f}x",
      f"{timed} of {size**2}",
    )
    print_row(row)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
  parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 32], help="H = W")
  parser.add_argument("--batch", type=int, default=16)
  parser.add_argument("--codes", type=int, default=512, help="K")
  parser.add_argument("--channels", type=int, default=128)
  parser.add_argument("--layers", type=int, default=12)
  parser.add_argument("--kernel", type=int, default=5)
  parser.add_argument("--hidden", type=int, default=512)
  parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
  parser.add_argument("--repeats", type=int, default=3, help="cached runs, the fastest counts")
  parser.add_argument("--naive-seconds", type=float, default=10.0)
  pixelsnail.add_arguments(parser)
  args = parser.parse_args()
  print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores")
  if "pixelcnn" in args.models:
    pixelcnn(args)
  if "pixelsnail" in args.models:
    pixelsnail.compare(args)


if __name__ == "__main__":
  main()
