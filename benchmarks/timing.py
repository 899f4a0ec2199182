"""What the benchmarks of sampling share: times of compiled code, naive sampling, tables."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def best_time(run: Callable[[], jax.Array], *, repeats: int) -> float:
  """The least of a few wall times of a compiled computation, in seconds."""
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(run())
    times.append(time.perf_counter() - start)
  return min(times)


def naive_seconds(
  model: nn.Module, params: dict, shape: tuple[int, ...], *, budget: float, cond: Any = None
) -> tuple[float, int]:
  """Seconds a position takes naively, and the number of positions timed.

  A naive position is the model on the whole map, or sequence, and one draw from one position's
  logits.
  """

  batch, length = shape[0], math.prod(shape[1:])

  @jax.jit
  def positions(codes: jax.Array, count: jax.Array) -> jax.Array:
    def body(position: jax.Array, codes: jax.Array) -> jax.Array:
      logits = model.apply({"params": params}, codes.reshape(shape), cond)
      logits = logits.reshape(batch, length, -1)
      logits = jax.lax.dynamic_slice_in_dim(logits, position, 1, axis=1)
      noise = jax.random.gumbel(jax.random.fold_in(jax.random.key(0), position), logits.shape)
      drawn = jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
      return jax.lax.dynamic_update_slice(codes, drawn, (0, position))

    return jax.lax.fori_loop(jnp.int32(0), count, body, codes)

  codes = jnp.zeros((batch, length), jnp.int32)
  jax.block_until_ready(positions(codes, jnp.int32(1)))  # compiles
  once = best_time(lambda: positions(codes, jnp.int32(1)), repeats=1)
  count = int(min(length, max(2, budget / once)))
  return best_time(lambda: positions(codes, jnp.int32(count)), repeats=1) / count, count


def bandwidth(*, gigabytes: float = 1.0) -> float:
  """Bytes a second at which all cores together read memory: the best of a few large sums."""
  x = jnp.ones(int(gigabytes * 1e9) // 4, jnp.float32)
  total = jax.jit(jnp.sum)
  jax.block_until_ready(total(x))
  return x.nbytes / best_time(lambda: total(x), repeats=5)


def print_row(cells: Sequence[str]) -> None:
  print("".join(f"{cell:>16}" for cell in cells), flush=True)
