"""WaveNet: what a logit depends on, the queues, chunks, an independent implementation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.priors import SequenceConditions, WaveNet, log_prob, sample, sampling, stream


def make(B, T, *, dtype=jnp.float64, seed=0, more_frames=0, **fields):
  """A small WaveNet with generic parameters, codes and conditions for them."""
  param_dtype = jnp.float64 if dtype == jnp.float64 else jnp.float32
  small = {"num_codes": 7, "channels": 4, "skip_channels": 5, "hidden": 6}
  small |= {"num_layers": 5, "cycle": 3}
  model = WaveNet(dtype=dtype, param_dtype=param_dtype, **(small | fields))
  rng = np.random.default_rng(seed)
  integers = lambda size, *shape: jnp.asarray(rng.integers(size, size=shape), jnp.int32)
  codes = integers(model.num_codes, B, T)
  local = None
  if model.local_features:
    frames = -(-T // model.hop) + more_frames
    local = jnp.asarray(rng.standard_normal((B, frames, model.local_features)), param_dtype)
  cond = SequenceConditions(tuple(integers(n, B) for n in model.label_sizes), local)

  def normal(x):
    scale = 0.5 if x.ndim < 3 else x.shape[-2] ** -0.5
    return jnp.asarray(scale * rng.standard_normal(x.shape), x.dtype)

  shapes = jax.eval_shape(model.init, jax.random.key(0), codes, cond)["params"]
  return model, jax.tree.map(normal, shapes), codes, cond


CONDITIONED = {"label_sizes": (3, 2), "local_features": 3, "hop": 4}


@functools.partial(jax.jit, static_argnums=0)
def logits_of(model, params, codes, cond):
  return model.apply({"params": params}, codes, cond)


@functools.partial(jax.jit, static_argnums=0)
def stepped(model, params, codes, cond, fill=0):
  """The logits of `codes`, one by one; what is not drawn yet is `fill`."""
  apply = lambda name, *args: model.apply({"params": params}, *args, method=name)
  positions = jnp.arange(codes.shape[1], dtype=jnp.int32)

  def one(cache, t):
    return apply("step", cache, jnp.where(positions < t, codes, fill), jnp.int32(0), t)

  _, logits = jax.lax.scan(one, apply("init_cache", codes.shape, cond), positions)
  return logits.swapaxes(0, 1)


def test_cached_equals_naive_for_512_samples_with_local_and_global_conditions(x64):
  model, params, codes, cond = make(2, 512, more_frames=3, **CONDITIONED)
  expected = logits_of(model, params, codes, cond)
  assert expected.dtype == jnp.float64 and expected.shape == (2, 512, 7)
  np.testing.assert_allclose(stepped(model, params, codes, cond), expected, atol=1e-12)
  # What is not drawn yet is never looked at.
  np.testing.assert_array_equal(
    stepped(model, params, codes, cond, 3), stepped(model, params, codes, cond)
  )


@pytest.mark.parametrize("fields", [{"kernel_size": 3}, {"num_layers": 1}, {"label_sizes": (3,)}])
def test_steps_equal_teacher_forcing(fields, x64):
  model, params, codes, cond = make(2, 40, **fields)
  expected = logits_of(model, params, codes, cond)
  np.testing.assert_allclose(stepped(model, params, codes, cond), expected, atol=1e-12)


def test_a_logit_depends_on_the_codes_of_its_receptive_field_and_on_no_other(x64):
  """One batch entry a position, in which that position's code is changed."""
  T = 40
  model, params, codes, _ = make(1, T, num_layers=4, kernel_size=2)
  assert model.dilations == (1, 2, 4, 1) and model.receptive_field == 9
  changed = (codes + jnp.eye(T, dtype=jnp.int32)) % model.num_codes
  logits = logits_of(model, params, jnp.concatenate([codes, changed]), None)
  difference = np.abs(logits[1:] - logits[:1]).max(-1)  # [changed position, logit's position]
  back = np.arange(T) - np.arange(T)[:, None]  # how far before the logit the change is
  reached = (back >= 1) & (back <= model.receptive_field)
  assert difference[~reached].max() < 1e-14
  assert difference[reached].min() > 1e-9  # every one of them, so there is no blind spot


def test_it_is_the_papers_network(x64):
  """Against the equations, position by position, in plain numpy."""
  model, params, codes, cond = make(1, 24, **CONDITIONED)
  p = jax.tree.map(np.asarray, params)
  C = model.channels
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  relu = lambda x: np.maximum(x, 0)
  shifted = [np.zeros(C), *p["embed"]["embedding"][np.asarray(codes[0, :-1])]]
  x, skip = np.stack(shifted), np.zeros((24, model.skip_channels))
  frames = np.asarray(cond.local[0]).repeat(model.hop, 0)[:24]
  for k, d in enumerate(model.dilations):
    own = slice(2 * C * k, 2 * C * (k + 1))
    y = sum(
      p[f"labels_{n}"]["embedding"][int(label[0]), own] for n, label in enumerate(cond.labels)
    )
    out = np.empty((24, C))
    for t in range(24):
      past = x[t - d] @ p["past"][k, 0] if t >= d else 0
      a = past + x[t] @ p["now"][k] + p["gate_bias"][k] + frames[t] @ p["local"][:, own] + y
      out[t] = np.tanh(a[:C]) * sigmoid(a[C:])
    skip += out @ p["skip"][k]
    if k < model.num_layers - 1:
      x = x + out @ p["residual"][k] + p["residual_bias"][k]
  hidden = relu(skip + p["skip_bias"]) @ p["to_hidden"]["kernel"] + p["to_hidden"]["bias"]
  expected = relu(hidden) @ p["to_logits"]["kernel"] + p["to_logits"]["bias"]
  np.testing.assert_allclose(logits_of(model, params, codes, cond)[0], expected, atol=1e-12)


def test_the_one_sampler_draws_from_it_and_chunks_are_what_is_drawn_at_once():
  model, params, _, cond = make(3, 50, dtype=jnp.float32, more_frames=2, **CONDITIONED)
  key = jax.random.key(3)
  drawn = sample(key, model, params, (3, 50), cond=cond)
  np.testing.assert_array_equal(
    drawn, sample(key, model, params, (3, 50), cond=cond, method="naive")
  )
  chunks = list(stream(key, model, params, (3, 50), chunk=16, cond=cond))
  assert [c.shape for c in chunks] == [(3, 16)] * 3 + [(3, 2)]
  np.testing.assert_array_equal(np.concatenate(chunks, axis=1), drawn)
  # The same seed, the same sound, in whatever batch it is drawn.
  alone = jax.tree.map(lambda x: x[1:2], cond)
  one = sample(key, model, params, (1, 50), cond=alone, first_index=1)
  np.testing.assert_array_equal(one[0], drawn[1])
  part = stream(key, model, params, (1, 50), chunk=50, cond=alone, first_index=1, temperature=0.5)
  cold = sample(key, model, params, (1, 50), cond=alone, first_index=1, temperature=0.5)
  np.testing.assert_array_equal(next(part), cold)
  assert np.any(cold != one)


def test_chunks_compile_two_programs_whatever_their_number():
  model, params, *_ = make(1, 8, dtype=jnp.float32)
  before = sampling._advance._cache_size()
  list(stream(jax.random.key(0), model, params, (1, 40), chunk=7))
  assert sampling._advance._cache_size() == before + 1


def test_it_learns_by_its_likelihood(x64):
  """log_prob is that of the logits, and its gradient reaches every parameter."""
  model, params, codes, cond = make(2, 30, **CONDITIONED)
  nats = log_prob(model, params, codes, cond=cond)
  logits = jax.nn.log_softmax(logits_of(model, params, codes, cond))
  expected = np.take_along_axis(np.asarray(logits), np.asarray(codes)[..., None], -1).sum((1, 2))
  np.testing.assert_allclose(nats, expected, rtol=1e-12)
  grads = jax.grad(lambda p: log_prob(model, p, codes, cond=cond).sum())(params)
  for path, g in jax.tree_util.tree_leaves_with_path(grads):
    assert np.abs(g).max() > 0, path


def test_near_levels_begin_alike():
  model = WaveNet(num_codes=256, channels=64, num_layers=2, ordered=True)
  codes = jnp.zeros((1, 4), jnp.int32)
  table = jax.jit(model.init)(jax.random.key(0), codes)["params"]["embed"]["embedding"]
  np.testing.assert_allclose(table.mean(), 0, atol=0.2)
  np.testing.assert_allclose(table.std(), 1, atol=0.1)  # as that of categories
  apart = lambda n: np.square(table[n:] - table[:-n]).sum(1).mean()
  assert apart(1) < 0.3 * apart(16) and apart(16) < 0.9 * apart(128)


def test_dropout_is_on_in_training_alone():
  model, params, codes, _ = make(1, 20, dtype=jnp.float32, dropout=0.5)
  apply = functools.partial(model.apply, {"params": params}, codes)
  still = apply()
  np.testing.assert_array_equal(still, apply())
  assert np.any(apply(train=True, rngs={"dropout": jax.random.key(0)}) != still)


def test_bfloat16_computes_in_it_and_gives_float32():
  model, params, codes, cond = make(2, 33, dtype=jnp.bfloat16, **CONDITIONED)
  logits = logits_of(model, params, codes, cond)
  exact = logits_of(model.clone(dtype=jnp.float32), params, codes, cond)
  assert logits.dtype == jnp.float32
  np.testing.assert_allclose(logits, exact, atol=0.2)


@pytest.mark.parametrize(
  ("cond", "message"),
  [
    (None, r"cond has 0 labels; this WaveNet takes 2, of \[3, 2\] values"),
    (
      SequenceConditions((np.zeros(2, np.int32),) * 2),
      r"local conditions are None; 9 codes, 4 a frame, take \[2, 3 or more, 3\]",
    ),
    (
      SequenceConditions((np.zeros(2, np.int32),) * 2, np.zeros((2, 2, 3), np.float32)),
      r"local conditions are \[2, 2, 3\]; 9 codes",
    ),
    (
      SequenceConditions((np.zeros(2), np.zeros(2, np.int32)), np.zeros((2, 3, 3), np.float32)),
      r"labels 0 are float",
    ),
  ],
)
def test_wrong_conditions_are_named(cond, message):
  model, params, codes, _ = make(2, 9, dtype=jnp.float32, **CONDITIONED)
  with pytest.raises(ValueError, match=message):
    model.apply({"params": params}, codes, cond)


def test_labels_out_of_range_and_what_is_no_sequence():
  model, params, *_ = make(2, 9, dtype=jnp.float32, label_sizes=(3,))
  with pytest.raises(ValueError, match="labels 0"):
    sample(jax.random.key(0), model, params, (2, 4), cond=np.array([0, 3], np.int32))
  with pytest.raises(ValueError, match=r"codes have shape \[2, 3, 3\]"):
    model.apply({"params": params}, np.zeros((2, 3, 3), np.int32), np.zeros(2, np.int32))
  with pytest.raises(ValueError, match="takes none"):
    model.apply(
      {"params": params},
      np.zeros((2, 3), np.int32),
      SequenceConditions((np.zeros(2, np.int32),), np.zeros((2, 3, 1))),
    )
