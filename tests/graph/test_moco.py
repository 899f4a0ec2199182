"""Momentum contrast: the queue's order, the average, what gets a gradient, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.graph import moco


def numbered(first, count, dim=3):
  ids = jnp.arange(first, first + count, dtype=jnp.int32)
  return jnp.broadcast_to(ids[:, None], (count, dim)).astype(jnp.float32), ids


def test_the_oldest_keys_make_room():
  queue = moco.init_queue(jax.random.key(0), 7, 3)
  first = np.asarray(queue.keys)
  assert (np.asarray(queue.ids) == -1).all() and np.abs(first).max() <= 1
  queue = moco.enqueue(queue, *numbered(0, 3))
  np.testing.assert_array_equal(queue.ids, [0, 1, 2, -1, -1, -1, -1])
  np.testing.assert_array_equal(queue.keys[3:], first[3:])
  queue = moco.enqueue(moco.enqueue(queue, *numbered(3, 3)), *numbered(6, 3))
  np.testing.assert_array_equal(queue.ids, [7, 8, 2, 3, 4, 5, 6])
  np.testing.assert_array_equal(queue.keys[:, 0], queue.ids)
  assert queue.next == 2
  np.testing.assert_array_equal(moco.others(queue, jnp.array([8, 9]))[0], np.arange(7) != 1)


def test_keys_of_all_devices_come_in_their_order():
  count = min(4, jax.device_count())
  queue, (keys, ids) = moco.init_queue(jax.random.key(0), 11, 3), numbered(0, 8)
  queue = moco.enqueue(queue, *numbered(20, 6))
  one = moco.enqueue(queue, keys, ids)
  split = lambda x: x.reshape(count, -1, *x.shape[1:])
  many = jax.pmap(
    lambda keys, ids: moco.enqueue(queue, keys, ids, axis_name="i"),
    axis_name="i", devices=jax.devices()[:count],
  )(split(keys), split(ids))  # fmt: skip
  for i in range(count):
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, i=i: x[i], many), one)


def test_the_average_is_exact_and_no_gradient_goes_through_it():
  old, new = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([3.0, 5.0])}
  for momentum in (0.0, 0.75, 1.0):
    expected = momentum * np.array([1.0, -2.0]) + (1 - momentum) * np.array([3.0, 5.0])
    np.testing.assert_array_equal(moco.ema(old, new, momentum=momentum)["w"], expected)

  def loss(params, queue):
    keys = moco.ema(old, params, momentum=0.5)["w"][None]
    queue = moco.enqueue(queue, 2 * params["w"][None], jnp.zeros(1, jnp.int32))
    return jnp.sum(keys) + jnp.sum(queue.keys)

  queue = moco.init_queue(jax.random.key(0), 4, 2)
  np.testing.assert_array_equal(jax.grad(loss)(new, queue)["w"], [0, 0])


def test_what_does_not_go_into_a_queue():
  queue = moco.init_queue(jax.random.key(0), 4, 3)
  with pytest.raises(ValueError, match="5 keys do not go into a queue of 4"):
    moco.enqueue(queue, *numbered(0, 5))
  with pytest.raises(ValueError, match=r"keys must be \[B, 3\] and ids i32\[B\]; found \[2, 2\]"):
    moco.enqueue(queue, *numbered(0, 2, dim=2))
