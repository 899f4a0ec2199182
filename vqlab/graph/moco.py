"""Momentum contrast (He et al. 2020, arXiv 1911.05722) as explicit pytree transforms.

Queries are encoded by parameters that gradients move, keys by an average of them that follows
slowly; the last K keys are kept in a queue, and are what a query must not be taken for.

    key_params = ema(key_params, params, momentum=0.999)      # before keys are encoded
    loss = losses.info_nce(query, key, queue.keys, temperature=0.07, where=others(queue, ids))
    queue = enqueue(queue, key, ids)                          # after it: none is its own negative

Letters: B queries, K keys in the queue, D dimensions.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vqlab.nn import checks


class Queue(NamedTuple):
  """The last K keys and what they are of."""

  keys: jax.Array  # f32[K, D]
  ids: jax.Array  # i32[K]  -1: of nothing yet
  next: jax.Array  # i32[]  where the next key goes: what has been there longest


def init_queue(key: jax.Array, size: int, dim: int, dtype: jnp.dtype = jnp.float32) -> Queue:
  """K = `size` random keys, uniform within sqrt(3 / D), so that their mean square length is 1.

  (MoCo's code normalises normal vectors; this is GCC's way.)
  """
  checks.whole_number("init_queue: size", size, least=1)
  bound = (3 / dim) ** 0.5
  keys = jax.random.uniform(key, (size, dim), dtype, -bound, bound)
  return Queue(keys, jnp.full(size, -1, jnp.int32), jnp.zeros((), jnp.int32))


def enqueue(
  queue: Queue, keys: jax.Array, ids: jax.Array, *, axis_name: str | None = None
) -> Queue:
  """The queue with new keys in place of as many that were there longest; no gradient goes through.

  Args:
    keys: f[B, D]; the queue keeps them in its own dtype.
    ids: i32[B], what they are of.
    axis_name: a mapped axis whose devices' keys all go in, in the order of the devices: as one
      device would have it.

  Raises:
    ValueError: there are more keys than the queue holds, or shapes do not agree.
  """
  if keys.shape != (*ids.shape, queue.keys.shape[1]) or ids.ndim != 1:
    raise ValueError(
      f"enqueue: keys must be [B, {queue.keys.shape[1]}] and ids i32[B]; "
      f"found {list(keys.shape)} and {list(ids.shape)}"
    )
  keys = jax.lax.stop_gradient(keys)
  if axis_name is not None:
    keys, ids = jax.lax.all_gather((keys, ids), axis_name, tiled=True)
  size = len(queue.ids)
  if len(ids) > size:
    raise ValueError(f"enqueue: {len(ids)} keys do not go into a queue of {size}")
  places = (queue.next + jnp.arange(len(ids), dtype=jnp.int32)) % size
  return Queue(
    queue.keys.at[places].set(keys.astype(queue.keys.dtype)),
    queue.ids.at[places].set(ids.astype(jnp.int32)),
    (queue.next + len(ids)) % size,
  )


def others(queue: Queue, ids: jax.Array) -> jax.Array:
  """bool[B, K]: which keys are of something else than each query: its negatives."""
  return queue.ids != ids[:, None]


def ema(average: Any, params: Any, *, momentum: float) -> Any:
  """momentum * average + (1 - momentum) * params, leaf by leaf; no gradient goes through."""
  mix = lambda a, p: momentum * a + (1 - momentum) * p
  return jax.lax.stop_gradient(jax.tree.map(mix, average, params))
