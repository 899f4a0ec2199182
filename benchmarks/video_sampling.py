"""Sampling videos of codes from a VideoPixelCNN: with the cache, and naively.

    python -m benchmarks.video_sampling
    python -m benchmarks.video_sampling --frames 4 16 --batch 4 --dtype bfloat16

Frames of 16x16 (K = 512, 64 channels, 6 layers, a window of 4 frames, actions) of an untrained
model; time does not depend on weights. Both methods draw the same codes. Naively is the model over
all the frames for every position, the same wherever it is: it is timed over some positions, the
number in the last column, and the ratio is extrapolated from these. That a frame costs the same
however many were drawn before it is the column of ms a frame.

Required on two CPU cores: 16 frames at least 100 times faster with the cache than naively.
"""

import argparse
import os

import jax
import jax.numpy as jnp

from benchmarks.timing import best_time, naive_seconds, print_row
from vqlab.priors import VideoConditions, VideoPixelCNN, sample

ACTION = 4


def row(model: VideoPixelCNN, params: dict, frames: int, args: argparse.Namespace) -> None:
  """A line of the table."""
  shape = (args.batch, frames, *model.map_shape)
  cond = VideoConditions(actions=jnp.zeros((args.batch, frames, ACTION)))

  def cached() -> jax.Array:
    return sample(jax.random.key(1), model, params, shape, cond=cond)

  jax.block_until_ready(cached())  # compiles
  fast, positions = best_time(cached, repeats=args.repeats), frames * args.size**2
  cells = [f"{frames}", f"{fast:.2f}", f"{1e3 * fast / frames:,.0f}"]
  if frames in args.naive:
    slow, timed = naive_seconds(model, params, shape, budget=args.naive_seconds, cond=cond)
    cells += [f"{1e3 * slow:,.0f}", f"{slow * positions / fast:,.0f}x", f"{timed} of {positions}"]
  print_row(cells)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--frames", type=int, nargs="+", default=[2, 4, 6, 8, 10, 12, 14, 16])
  parser.add_argument(
    "--naive", type=int, nargs="+", default=[16], help="frames also drawn naively"
  )
  parser.add_argument("--size", type=int, default=16, help="H = W")
  parser.add_argument("--batch", type=int, default=1)
  parser.add_argument("--codes", type=int, default=512, help="K")
  parser.add_argument("--channels", type=int, default=64)
  parser.add_argument("--layers", type=int, default=6)
  parser.add_argument("--hidden", type=int, default=256)
  parser.add_argument("--window", type=int, default=4)
  parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
  parser.add_argument("--repeats", type=int, default=3, help="cached runs, the fastest counts")
  parser.add_argument("--naive-seconds", type=float, default=20.0)
  args = parser.parse_args()
  model = VideoPixelCNN(
    num_codes=args.codes,
    map_shape=(args.size, args.size),
    action_dim=ACTION,
    window=args.window,
    channels=args.channels,
    num_layers=args.layers,
    hidden=args.hidden,
    dtype=jnp.dtype(args.dtype),
  )
  cond = VideoConditions(actions=jnp.zeros((1, 1, ACTION)))
  codes = jnp.zeros((1, 1, args.size, args.size), jnp.int32)
  params = jax.jit(model.init)(jax.random.key(0), codes, cond)["params"]
  count = sum(x.size for x in jax.tree.leaves(params))
  print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores")
  print(
    f"{args.size}x{args.size}, {args.dtype}, batch {args.batch}, {count / 1e6:.1f} M parameters"
  )
  print_row(("frames", "cached s", "ms/frame", "naive ms/code", "ratio", "timed"))
  for frames in args.frames:
    row(model, params, frames, args)


if __name__ == "__main__":
  main()
