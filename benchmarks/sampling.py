"""Sampling from a PixelCNN: with the cache, and naively (the whole map for every position).

    python -m benchmarks.sampling                       # K=512, 128 channels, 12 layers, batch 16
    python -m benchmarks.sampling --sizes 8 16 --channels 64 --dtype bfloat16

Both methods draw the same codes from the same untrained model (time does not depend on weights),
in the same run. A naive position costs the same wherever it is, so a naive run that would take
longer than `--naive-seconds` is timed over some of its positions, the number in the last column.

Required: at 32x32 with batch 16 the cache is at least 100 times faster on two CPU cores, and the
ratio grows with the area.
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqlab.priors import PixelCNN, sample


def best_time(run: Callable[[], jax.Array], *, repeats: int) -> float:
  """The least of a few wall times of a compiled computation, in seconds."""
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(run())
    times.append(time.perf_counter() - start)
  return min(times)


def naive_seconds(
  model: nn.Module, params: dict, shape: tuple[int, ...], *, budget: float
) -> tuple[float, int]:
  """Seconds a position takes naively, and the number of positions timed.

  A naive position is the model on the whole map and one draw from one position's logits.
  """

  @jax.jit
  def positions(codes: jax.Array, count: jax.Array) -> jax.Array:
    def body(position: jax.Array, codes: jax.Array) -> jax.Array:
      logits = model.apply({"params": params}, codes)
      row, column = jnp.divmod(position, jnp.int32(shape[2]))
      logits = jax.lax.dynamic_slice(
        logits, (0, row, column, 0), (shape[0], 1, 1, logits.shape[-1])
      )
      noise = jax.random.gumbel(jax.random.fold_in(jax.random.key(0), position), logits.shape)
      drawn = jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
      return jax.lax.dynamic_update_slice(codes, drawn, (0, row, column))

    return jax.lax.fori_loop(jnp.int32(0), count, body, codes)

  codes = jnp.zeros(shape, jnp.int32)
  jax.block_until_ready(positions(codes, jnp.int32(1)))  # compiles
  once = best_time(lambda: positions(codes, jnp.int32(1)), repeats=1)
  count = int(min(shape[1] * shape[2], max(2, budget / once)))
  return best_time(lambda: positions(codes, jnp.int32(count)), repeats=1) / count, count


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
  args = parser.parse_args()

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
  print(f"{jax.devices()[0].device_kind}, {args.dtype}, batch {args.batch}, {count / 1e6:.1f} M")
  header = (
    "map",
    "cached codes/s",
    "us/position",
    "naive codes/s",
    "ms/position",
    "ratio",
    "timed",
  )
  print("".join(f"{name:>16}" for name in header))
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
    print("".join(f"{cell:>16}" for cell in row), flush=True)


if __name__ == "__main__":
  main()
