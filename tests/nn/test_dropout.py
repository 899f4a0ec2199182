"""Dropout: its rate and scale, and that each example's draws are its row's own."""

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.nn import Dropout

KEY = {"dropout": jax.random.key(0)}


def test_rate_and_scale():
  x = jnp.ones((64, 500))
  y = Dropout(0.25).apply({}, x, train=True, rngs=KEY)
  assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
  dropped = float(jnp.mean(y == 0))
  assert abs(dropped - 0.25) < 4 * np.sqrt(0.25 * 0.75 / x.size)
  np.testing.assert_array_equal(Dropout(0.25).apply({}, x, train=False), x)
  np.testing.assert_array_equal(Dropout(0.0).apply({}, x, train=True), x)


def test_an_examples_draws_are_its_rows_own():
  x, rows = jnp.ones((8, 50)), jnp.arange(8)
  drop = lambda x, rows: Dropout(0.5).apply({}, x, train=True, rows=rows, rngs=KEY)
  whole = drop(x, None)
  np.testing.assert_array_equal(drop(x[4:6], rows[4:6]), whole[4:6])
  assert len(np.unique(np.asarray(whole), axis=0)) == 8
