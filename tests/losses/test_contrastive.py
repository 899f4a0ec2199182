"""InfoNCE: against NumPy, with what is left out, and with keys of all devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from vqlab import losses

T = 0.3


def drawn(*rows, dim=6, dtype=np.float64):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.normal(size=(n, dim)).astype(dtype)) for n in rows]


def plainly(query, positive, negatives, where):
  """One query at a time, over what is not left out."""
  losses_ = []
  for q, p, mask in zip(query, positive, where, strict=True):
    scores = np.exp(np.array([q @ p, *(q @ n for n in negatives[mask])]) / T)
    losses_.append(-np.log(scores[0] / scores.sum()))
  return losses_


def test_value_and_gradients_with_a_queue(x64):
  query, positive, negatives = drawn(5, 5, 7)
  where = jnp.asarray(np.random.default_rng(1).random((5, 7)) < 0.6).at[0].set(False)
  loss = functools.partial(losses.info_nce, temperature=T, where=where)
  expected = plainly(*map(np.asarray, (query, positive, negatives, where)))
  np.testing.assert_allclose(loss(query, positive, negatives), expected, rtol=1e-12)
  assert expected[0] == 0  # no negatives are left
  check_grads(loss, (query, positive, negatives), order=1, modes=["rev"])
  whole = losses.info_nce(query, positive, negatives, temperature=T)
  every = losses.info_nce(query, positive, negatives, temperature=T, where=jnp.ones_like(where))
  np.testing.assert_array_equal(whole, every)


def test_what_is_left_out_has_no_gradient():
  query, positive, negatives = drawn(3, 3, 4, dtype=np.float32)
  where = jnp.ones((3, 4), bool).at[:, 2].set(False)
  loss = lambda n: losses.info_nce(query, positive, n, temperature=T, where=where).sum()
  grad = jax.grad(loss)(negatives)
  assert (grad[2] == 0).all() and (grad[jnp.array([0, 1, 3])] != 0).all()


def test_others_in_the_batch_are_negatives(x64):
  query, key = drawn(5, 5)
  ours = losses.in_batch_info_nce(query, key, temperature=T)
  theirs = losses.info_nce(query, key, key, temperature=T, where=~jnp.eye(5, dtype=bool))
  np.testing.assert_allclose(ours, theirs, rtol=1e-12)
  # Two queries of one thing: neither is the other's negative, and each keeps its own key.
  same = jnp.zeros((5, 5), bool).at[:2, :2].set(True)
  ours = losses.in_batch_info_nce(query, key, temperature=T, where=~same)
  theirs = losses.info_nce(query, key, key, temperature=T, where=~(same | jnp.eye(5, dtype=bool)))
  np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_learned_temperatures_have_gradients(x64):
  query, key = drawn(4, 4)
  loss = lambda t: losses.in_batch_info_nce(query, key, temperature=jnp.exp(t))
  check_grads(loss, (jnp.float64(-1.0),), order=1, modes=["rev"])


def test_keys_of_all_devices(x64):
  devices = jax.device_count()
  query, key = drawn(2 * devices, 2 * devices)

  def mean(pair):
    return losses.in_batch_info_nce(*pair, temperature=T).mean()

  def share(pair):
    query, key = pair
    every = lax.all_gather(key, "data", tiled=True)
    own = lax.axis_index("data") * len(query) + jnp.arange(len(query), dtype=jnp.int32)
    loss = losses.in_batch_info_nce(query, every, temperature=T, positive=own)
    return loss.sum() / (devices * len(query))

  def step(pair):
    value, grads = jax.value_and_grad(share)(pair)
    return lax.psum(value, "data"), grads

  split = [x.reshape(devices, 2, -1) for x in (query, key)]
  value, grads = jax.pmap(step, "data")(split)
  one, expected = jax.value_and_grad(mean)([query, key])
  np.testing.assert_allclose(value, np.full(devices, one), rtol=1e-10)
  for mine, theirs in zip(grads, expected, strict=True):
    np.testing.assert_allclose(mine.reshape(theirs.shape), theirs, rtol=1e-10, atol=1e-14)


def test_halves_are_computed_in_float32():
  query, key = drawn(4, 4, dtype=np.float32)
  half = [x.astype(jnp.bfloat16) for x in (query, key)]
  ours = losses.in_batch_info_nce(*half, temperature=T)
  assert ours.dtype == jnp.float32
  wide = losses.in_batch_info_nce(*(x.astype(jnp.float32) for x in half), temperature=T)
  np.testing.assert_array_equal(ours, wide)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda x, t: losses.info_nce(x, x[:2], x, temperature=t), r"\[3, 6\] and positives \[2, 6\]"),
    (lambda x, t: losses.info_nce(x, x, x[:, :5], temperature=t), "rows of one length; found"),
    (lambda x, t: losses.info_nce(x, x, x, temperature=0.0), "temperature is 0.0; it must be"),
    (
      lambda x, t: losses.info_nce(x, x, x, temperature=t, where=jnp.ones((2, 3), bool)),
      r"where must be bool\[3, 3\]; found bool\[2, 3\]",
    ),
    (lambda x, t: losses.in_batch_info_nce(x, x[:2], temperature=t), "3 queries have only 2 keys"),
    (
      lambda x, t: losses.in_batch_info_nce(x, x, temperature=t, positive=jnp.array([0, 1, 3])),
      r"positives run from 0 to 3; they must be in \[0, 3\)",
    ),
    (
      lambda x, t: losses.in_batch_info_nce(x, x, temperature=t, positive=jnp.ones(3)),
      r"positive must be int\[3\]; found float32\[3\]",
    ),
  ],
)
def test_bad_input_is_named(call, message):
  with pytest.raises(ValueError, match=message):
    call(drawn(3, dtype=np.float32)[0], T)
