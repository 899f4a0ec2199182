"""What the benchmarks of sampling share: times of compiled code, naive sampling, tables."""

import time
from collections.abc import Callable, Sequence

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


def bandwidth(*, gigabytes: float = 1.0) -> float:
  """Bytes a second at which all cores together read memory: the best of a few large sums."""
  x = jnp.ones(int(gigabytes * 1e9) // 4, jnp.float32)
  total = jax.jit(jnp.sum)
  jax.block_until_ready(total(x))
  return x.nbytes / best_time(lambda: total(x), repeats=5)


def print_row(cells: Sequence[str]) -> None:
  print("".join(f"{cell:>16}" for cell in cells), flush=True)
