"""Codebook statistics and transforms: EMA, revival, masks, and one device = many."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import P

from vqlab import quantize

K, D = 12, 4


def batch(step: int, n: int = 64) -> jax.Array:
  return jax.random.normal(jax.random.key(100 + step), (n, D))


def train(update, state, steps, *, make=batch, **stats_options):
  for t in range(steps):
    z = make(t)
    key = jax.random.key(t)
    indices = quantize.assign(z, state.codebook)
    stats = quantize.assignment_stats(z, indices, num_codes=K, key=key, **stats_options)
    state = update(state, stats, key)
  return state


def test_ema_equals_haiku_over_50_steps():
  hk = pytest.importorskip("haiku", reason="peer dm-haiku not installed")
  num_codes, dim, steps = 64, 8, 50

  def forward(z):
    vq = hk.nets.VectorQuantizerEMA(dim, num_codes, 0.25, 0.99, epsilon=1e-5)
    return vq(z, is_training=True)

  # Haiku relies on implicit promotion.
  with jax.numpy_dtype_promotion("standard"):
    model = hk.transform_with_state(forward)
    # Drifting, clustered data: codes fall out of use and come back.
    z = lambda t: (
      jax.random.normal(jax.random.key(t), (256, dim)) * 0.2 + jnp.sin(0.3 * t + jnp.arange(dim))
    )
    params, theirs = model.init(jax.random.key(0), z(0))
    apply = jax.jit(model.apply)
    book = theirs["vector_quantizer_ema"]["embeddings"].T
    ours = quantize.init(jax.random.key(0), num_codes, dim)._replace(codebook=book)
    update = jax.jit(quantize.chain(quantize.ema(0.99, unused="zero")))
    worst = 0.0
    for t in range(steps):
      out, theirs = apply(params, theirs, None, z(t))
      indices = quantize.assign(z(t), ours.codebook)
      np.testing.assert_array_equal(indices, out["encoding_indices"])
      stats = quantize.assignment_stats(z(t), indices, num_codes=num_codes)
      np.testing.assert_allclose(quantize.perplexity(stats.counts), out["perplexity"], rtol=1e-5)
      ours = update(ours, stats)
      book = theirs["vector_quantizer_ema"]["embeddings"].T
      worst = max(worst, float(jnp.max(jnp.abs(ours.codebook - book))))
  assert worst <= 1e-6
  assert jnp.any(jnp.all(ours.codebook == 0, axis=1))  # the run did hold codes never used


def test_unused_codes_keep_their_place_or_go_to_the_origin():
  state = quantize.init(jax.random.key(0), K, D)
  far = state._replace(codebook=state.codebook.at[-3:].set(1e3))
  keep = train(quantize.chain(quantize.ema(0.9)), far, 3)
  zero = train(quantize.chain(quantize.ema(0.9, unused="zero")), far, 1)
  np.testing.assert_array_equal(keep.codebook[-3:], far.codebook[-3:])
  np.testing.assert_array_equal(zero.codebook[-3:], 0)


def test_one_step_without_decay_is_one_step_of_k_means():
  state = quantize.init(jax.random.key(0), K, D)
  z = batch(0)
  indices = quantize.assign(z, state.codebook)
  stats = quantize.assignment_stats(z, indices, num_codes=K)
  new = quantize.chain(quantize.ema(0.0, epsilon=1e-12))(state, stats)
  for k in np.unique(indices):
    np.testing.assert_allclose(new.codebook[k], np.mean(z[indices == k], axis=0), atol=1e-5)


def test_statistics_equal_a_plain_sum():
  z, state = batch(1), quantize.init(jax.random.key(0), K, D)
  indices = quantize.assign(z, state.codebook)
  stats = quantize.assignment_stats(z, indices, num_codes=K)
  one_hot = np.eye(K)[np.asarray(indices)]
  np.testing.assert_allclose(stats.counts, one_hot.sum(0))
  np.testing.assert_allclose(stats.sums, one_hot.T @ np.asarray(z), atol=1e-5)


UPDATE = quantize.chain(quantize.ema(0.9), quantize.revive(0.1))


@partial(jax.jit, static_argnames="masked")
def masked_step(z, mask, state, key, masked: bool):
  mask = mask if masked else None
  indices = quantize.assign(z, state.codebook, mask=mask)
  stats = quantize.assignment_stats(z, indices, num_codes=K, key=key, num_candidates=5, mask=mask)
  return UPDATE(state, stats, key), stats


def test_masks_all_true_partial_and_empty():
  state = train(UPDATE, quantize.init(jax.random.key(0), K, D), 2, num_candidates=5)
  z, key = batch(7), jax.random.key(7)
  everything = masked_step(z, jnp.ones(64, bool), state, key, masked=True)
  for a, b in zip(
    jax.tree.leaves(everything),
    jax.tree.leaves(masked_step(z, jnp.ones(64, bool), state, key, masked=False)),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)

  mask = jax.random.bernoulli(jax.random.key(8), 0.5, (64,))
  clean, _ = masked_step(z, mask, state, key, masked=True)
  poisoned, stats = masked_step(jnp.where(mask[:, None], z, jnp.nan), mask, state, key, masked=True)
  for a, b in zip(clean, poisoned, strict=True):
    np.testing.assert_array_equal(a, b)
  valid = {tuple(row) for row in np.asarray(z[mask])}
  assert all(tuple(row) in valid for row in np.asarray(stats.candidates))

  unchanged, _ = masked_step(z * jnp.nan, jnp.zeros(64, bool), state, key, masked=True)
  for a, b in zip(state, unchanged, strict=True):
    np.testing.assert_array_equal(a, b)


def test_candidates_are_distinct_and_cover_the_batch():
  z = jnp.arange(64.0)[:, None] * jnp.ones((1, D))
  draw = jax.jit(
    lambda key, num: quantize.assignment_stats(
      z, jnp.zeros(64, jnp.int32), num_codes=K, key=key, num_candidates=num
    ).candidates[:, 0],
    static_argnums=1,
  )
  assert len(set(np.asarray(draw(jax.random.key(0), 64)))) == 64
  for num in (1, 7, 33):
    seen = set()
    for i in range(40 * 64 // num):
      rows = np.asarray(draw(jax.random.key(i), num))
      assert len(set(rows)) == num
      seen |= set(rows)
    assert seen == set(np.arange(64.0))


def test_more_candidates_than_int32_can_square():
  n, num = 50_000, 65_536
  z = jnp.arange(n, dtype=jnp.float32)[:, None]
  stats = quantize.assignment_stats(
    z, jnp.zeros(n, jnp.int32), num_codes=1, key=jax.random.key(0), num_candidates=num
  )
  assert len(np.unique(stats.candidates)) == n
  few = quantize.assignment_stats(
    jnp.tile(z, (4, 1))[: n + num], jnp.zeros(n + num, jnp.int32), num_codes=1,
    key=jax.random.key(0), num_candidates=num,
  )  # fmt: skip
  assert len(np.unique(few.candidates)) > 0.5 * n


def test_a_code_long_unused_stays_where_it_was():
  state = quantize.init(jax.random.key(0), 2, 1)._replace(codebook=jnp.array([[0.0], [10.0]]))
  update = quantize.ema(0.99)

  @jax.jit
  def step(state, z):
    indices = quantize.assign(z, state.codebook)
    return update(state, quantize.assignment_stats(z, indices, num_codes=2))

  state = step(state, jnp.array([[0.1], [10.0]]))
  for _ in range(2500):
    state = step(state, jnp.array([[0.1], [0.2]]))
  assert state.counts[1] < 1e-9
  np.testing.assert_allclose(state.codebook[1], 10.0, rtol=0.02)


def test_bfloat16_codebooks_keep_float32_statistics():
  state = quantize.init(jax.random.key(0), K, D, dtype=jnp.bfloat16)
  assert state.codebook.dtype == jnp.bfloat16
  assert state.counts.dtype == state.sums.dtype == jnp.float32
  z = jnp.ones((4096, D), jnp.bfloat16)
  grad = jax.grad(
    lambda e: jnp.sum(quantize.lookup(e, jnp.zeros(4096, jnp.int32)).astype(jnp.float32))
  )(state.codebook)
  assert float(grad[0, 0]) == 4096 and z.dtype == grad.dtype


def test_empty_batches_and_debug_nans():
  state = quantize.init(jax.random.key(0), K, D)
  z, key = jnp.zeros((0, D)), jax.random.key(1)
  stats = quantize.assignment_stats(
    z, quantize.assign(z, state.codebook), num_codes=K, key=key, num_candidates=2
  )
  with jax.debug_nans(True):
    unchanged = UPDATE(state, stats, key)
  for a, b in zip(state, unchanged, strict=True):
    np.testing.assert_array_equal(a, b)


def test_revive_moves_dead_codes_to_vectors_of_the_batch():
  state = quantize.init(jax.random.key(0), K, D)
  state = state._replace(codebook=state.codebook.at[-4:].set(1e3))
  state = train(quantize.chain(quantize.ema(0.9)), state, 5)
  assert jnp.all(state.counts[-4:] == 0)
  z, key = batch(9), jax.random.key(9)
  stats = quantize.assignment_stats(
    z, quantize.assign(z, state.codebook), num_codes=K, key=key, num_candidates=3
  )
  new = quantize.chain(quantize.revive(0.01))(state, stats, key)
  rows = {tuple(row) for row in np.asarray(z)}
  moved = [k for k in range(K) if not np.array_equal(new.codebook[k], state.codebook[k])]
  assert moved == [K - 4, K - 3, K - 2]  # three candidates, so the fourth waits
  assert all(tuple(np.asarray(new.codebook[k])) in rows for k in moved)
  assert len({tuple(np.asarray(new.codebook[k])) for k in moved}) == 3
  np.testing.assert_allclose(new.counts[K - 4], state.counts.mean(), rtol=1e-6)
  np.testing.assert_allclose(new.sums[K - 4] / new.counts[K - 4], new.codebook[K - 4], rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_one_device_equals_eight(masked, x64):
  devices = jax.devices()[:8]
  z = jax.random.normal(jax.random.key(0), (64, 3, D), jnp.float64)
  mask = jax.random.bernoulli(jax.random.key(1), 0.7, (64, 3)) | (not masked)
  state = quantize.init(jax.random.key(2), K, D, dtype=jnp.float64)
  state = state._replace(codebook=state.codebook.at[-2:].set(50.0))

  def step(z, mask, state, key, axis_name=None):
    indices = quantize.assign(z, state.codebook, mask=mask)
    stats = quantize.assignment_stats(
      z, indices, num_codes=K, key=key, num_candidates=5, mask=mask, axis_name=axis_name
    )
    return UPDATE(state, stats, key)

  key = jax.random.key(3)
  one = jax.jit(step)(z, mask, state, key)
  mesh = jax.make_mesh((len(devices),), ("data",), (jax.sharding.AxisType.Auto,), devices=devices)
  sharded, replicated = (jax.NamedSharding(mesh, P(*axes)) for axes in (("data",), ()))
  jitted = jax.jit(step, in_shardings=(sharded, sharded, replicated, replicated))
  mapped = jax.jit(
    jax.shard_map(
      partial(step, axis_name="data"),
      mesh=mesh,
      in_specs=(P("data"), P("data"), P(), P()),
      out_specs=P(),
    )
  )
  pmapped = jax.pmap(
    partial(step, axis_name="data"), "data", in_axes=(0, 0, None, None), devices=devices
  )
  split = lambda x: x.reshape(len(devices), -1, *x.shape[1:])
  many = {
    "jit": jitted(z, mask, state, key),
    "shard_map": mapped(z, mask, state, key),
    "pmap": jax.tree.map(lambda x: x[-1], pmapped(split(z), split(mask), state, key)),
  }
  assert not np.array_equal(one.codebook[-2:], state.codebook[-2:])  # they were revived
  for name, other in many.items():
    for a, b in zip(one, other, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13, err_msg=name)


def test_sharded_vectors_are_never_gathered():
  devices = jax.devices()
  if len(devices) < 2:
    pytest.skip("needs several devices")
  mesh = jax.make_mesh((len(devices),), ("data",), (jax.sharding.AxisType.Auto,))
  sharded, replicated = (jax.NamedSharding(mesh, P(*axes)) for axes in (("data",), ()))

  def step(z, state, key):
    indices = quantize.assign(z, state.codebook)
    stats = quantize.assignment_stats(z, indices, num_codes=K, key=key, num_candidates=5)
    return UPDATE(state, stats, key)

  state = quantize.init(jax.random.key(2), K, D)
  z = jnp.zeros((1024, 8, D))
  hlo = (
    jax.jit(step, in_shardings=(sharded, replicated, replicated))
    .lower(z, state, jax.random.key(0))
    .compile()
    .as_text()
  )
  moved = re.findall(r"= (.*?) (?:all-gather|all-to-all)(?:-start)?\(", hlo)
  assert moved, "this looks for the ranks of the valid vectors, gathered to draw candidates"
  assert all("f32" not in result for result in moved)
  assert hlo.count(" all-reduce(") <= 4


def test_wrong_axis_name_is_an_error():
  with pytest.raises(NameError, match="nowhere"):
    quantize.assignment_stats(batch(0), jnp.zeros(64, jnp.int32), num_codes=K, axis_name="nowhere")


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: quantize.ema(1.0), r"decay is 1.0"),
    (lambda: quantize.ema(0.9, epsilon=0), r"epsilon is 0"),
    (lambda: quantize.ema(0.9, unused="drop"), r"unused is 'drop'"),
    (lambda: quantize.revive(0.0), r"threshold is 0.0"),
    (lambda: train(UPDATE, quantize.init(jax.random.key(0), K, D), 1), r"num_candidates=\.\.\."),
    (
      lambda: train(UPDATE, quantize.init(jax.random.key(0), K + 1, D), 1),
      r"the statistics are of",
    ),
    (
      lambda: quantize.assignment_stats(batch(0), jnp.zeros(3, jnp.int32), num_codes=K),
      r"indices must be int\[64\]",
    ),
    (
      lambda: quantize.assignment_stats(
        batch(0), jnp.zeros(64, jnp.int32), num_codes=K, num_candidates=2
      ),
      r"positive with a key",
    ),
  ],
)
def test_bad_input_is_named(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_without_rank_promotion():
  state, key = quantize.init(jax.random.key(0), K, D), jax.random.key(1)

  def step(z, state, key):
    out, new, _ = quantize.quantize_and_update(z, state, key, update=UPDATE)
    loss = quantize.commitment_loss(z, out.codes)
    return new.codebook, loss, quantize.assign(z, state.codebook, metric="cosine")

  with jax.numpy_rank_promotion("raise"):
    jax.eval_shape(step, batch(0), state, key)


def test_one_call_is_the_three_of_them():
  state, key = quantize.init(jax.random.key(0), K, D), jax.random.key(1)
  mask = jax.random.bernoulli(jax.random.key(8), 0.5, (64,))
  z = jnp.where(mask[:, None], batch(0), jnp.nan)
  step = quantize.quantize_and_update(z, state, key, update=UPDATE, mask=mask, chunk_size=5)
  out = quantize.quantize(z, state.codebook, mask=mask)
  stats = quantize.assignment_stats(
    z, out.indices, num_codes=K, key=key, num_candidates=K, mask=mask
  )
  chex.assert_trees_all_equal(step, quantize.Step(out, UPDATE(state, stats, key), stats))
  plain = quantize.quantize_and_update(z, state, update=quantize.ema(0.9), mask=mask)
  assert plain.stats.candidates.shape == (0, D)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_codebooks_of_16_bits_train(dtype):
  wide = quantize.init(jax.random.key(0), K, D)
  wide = wide._replace(codebook=wide.codebook.at[-2:].set(50.0).astype(dtype).astype(jnp.float32))
  state = wide._replace(codebook=wide.codebook.astype(dtype))
  new, expected = (train(UPDATE, s, 1, num_candidates=K) for s in (state, wide))
  assert new.codebook.dtype == dtype and new.sums.dtype == jnp.float32
  np.testing.assert_array_equal(new.codebook, expected.codebook.astype(dtype))


@pytest.mark.parametrize("decay", [0.0, 1 - 1e-8])
def test_the_first_step_is_the_batch_at_any_decay(decay):
  state = train(quantize.ema(decay), quantize.init(jax.random.key(0), K, D), 1)
  z = batch(0)
  indices = quantize.assign(z, quantize.init(jax.random.key(0), K, D).codebook)
  for k in np.unique(indices):
    np.testing.assert_allclose(state.codebook[k], np.mean(z[indices == k], axis=0), atol=1e-4)


def test_a_decay_may_be_traced_or_a_schedule():
  state = quantize.init(jax.random.key(0), K, D)
  schedule = lambda step: jnp.where(step < 2, 0.5, 0.9)
  scheduled = train(quantize.ema(schedule), state, 4)
  by_hand = train(quantize.ema(0.5), state, 2)
  for t in (2, 3):
    by_hand = train(quantize.ema(0.9), by_hand, 1, make=lambda _, t=t: batch(t))
  chex.assert_trees_all_close(scheduled, by_hand, rtol=1e-6)
  stats = quantize.assignment_stats(batch(0), jnp.zeros(64, jnp.int32), num_codes=K)
  traced = jax.jit(lambda decay: quantize.ema(decay)(state, stats))(0.9)
  chex.assert_trees_all_close(traced, quantize.ema(0.9)(state, stats), rtol=1e-5)
