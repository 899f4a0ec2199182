"""PixelSNAIL: the cache, what a logit depends on, conditioning, a new model.

Bad input is in test_pixelsnail_input.py; that it computes rosinality's network is tested in
tests/interop/test_pixelsnail.py.
"""

import collections
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vqlab.priors import Conditions, PixelSNAIL, drawing, log_prob, sample

KEY = jax.random.key(42)
SHAPE = (2, 4, 6)
VARIANTS = {
  "top": {"num_classes": 3, "num_res_blocks": 1},
  "bottom": {"attention": False, "num_classes": 3, "kernel_size": 5, "upper": ((7, 2, 3),)},
  "below two": {
    "num_blocks": 1, "num_classes": 3, "num_out_blocks": 1, "upper": ((4, 1, 3), (7, 4, 3)),
  },
}  # fmt: skip


def variant(name, make, shape=SHAPE, **fields):
  return make(shape, **{**VARIANTS[name], **fields})


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_equal_teacher_forcing_and_read_no_later_code(name, snail, stepped, forced, x64):
  model, params, codes, cond = variant(name, snail)
  expected = forced(model, params, codes, cond)
  assert expected.dtype == jnp.float64 and expected.shape == (*SHAPE, 5)
  for fill in (0, 4, -123456, 123456):
    found = stepped(model, params, codes, cond, jnp.int32(fill))
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("name", ["top", "bottom"])
def test_steps_equal_teacher_forcing_in_float32(name, snail, stepped, forced):
  model, params, codes, cond = variant(name, snail, dtype=jnp.float32)
  expected = forced(model, params, codes, cond)
  found = stepped(model, params, codes, cond, jnp.int32(3))
  assert found.dtype == expected.dtype == jnp.float32
  np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("attention", [False, True])
def test_a_logit_depends_on_its_receptive_field_exactly(attention, snail, forced, x64):
  """One batch entry a position, in which that position's code is changed."""
  H, W, r = 5, 7, 1
  fields = {"num_blocks": 2, "num_res_blocks": 1, "attention": attention}
  model, params, _, _ = snail((1, H, W), **fields)
  size = H * W
  codes = jax.random.randint(jax.random.key(1), (size,), 0, model.num_codes, jnp.int32)
  changed = (codes + jnp.eye(size, dtype=jnp.int32)) % model.num_codes
  logits = forced(model, params, jnp.concatenate([codes[None], changed]).reshape(-1, H, W), None)
  logits = logits.reshape(size + 1, size, -1)
  difference = np.abs(logits[1:] - logits[:1]).max(-1).T  # [logit's position, changed position]

  def reads(rows_above):
    """[position, position that a convolution at the first one reads]."""
    i, j = np.divmod(np.arange(size), W)
    down, right = i - i[:, None], j - j[:, None]
    above = (down >= -rows_above) & (down < 0) & (abs(right) <= r)
    return above | ((down == 0) & (right >= -r) & (right < 0))

  layer = reads(2 * r).astype(int)
  field = reads(r)  # what x depends on, [position, code]
  for _ in range(2):
    field = field | (layer @ layer @ field > 0)
    if attention:
      field = field | (np.tri(size, k=-1) @ field > 0)
  earlier = np.tri(size, k=-1, dtype=bool)
  assert difference[~earlier].max() < 1e-14
  assert difference[~field].max() < 1e-14 and difference[field].min() > 1e-9
  # Attention leaves no blind spot but for the row above, whose right end comes into sight as the
  # convolutions of earlier positions reach it; convolutions alone leave the corners out.
  row = np.arange(size) // W
  two_above = row[:, None] - 2 >= row
  assert field[two_above].all() == attention


def test_codes_that_are_not_drawn_yet_may_be_nan(snail, stepped, x64):
  """The last code's tables are NaN: no logit shows it while no drawn code is that one."""
  for name in VARIANTS:
    model, params, codes, cond = variant(name, snail)
    codes = codes % 4
    poisoned = jax.tree.map(jnp.asarray, params)
    for table in ("embed_above", "embed_left"):
      tables = params[table]["tables"]
      poisoned[table] = {**params[table], "tables": tables.at[:, 4].set(jnp.nan)}
    clean = stepped(model, params, codes, cond, jnp.int32(4))
    np.testing.assert_array_equal(stepped(model, poisoned, codes, cond, jnp.int32(4)), clean)


@pytest.mark.parametrize("name", ["top", "bottom"])
def test_cached_and_naive_codes_are_the_same(name, snail, x64):
  shape = (16, 4, 6)
  model, params, other, cond = variant(name, snail, shape)
  cached, naive = (
    sample(KEY, model, params, shape, cond=cond, method=method) for method in ("cached", "naive")
  )
  assert len(np.unique(cached)) == model.num_codes
  np.testing.assert_array_equal(cached, naive)
  if name != "top":
    return
  mask = jax.random.bernoulli(jax.random.key(1), 0.5, shape).at[:, 0].set(False)
  paint = partial(sample, KEY, model, params, shape, cond=cond)
  painted = paint(given=(other, mask))
  np.testing.assert_array_equal(painted[mask], other[mask])
  np.testing.assert_array_equal(painted[:, 0], cached[:, 0])
  assert not np.array_equal(painted[~mask], cached[~mask])
  np.testing.assert_array_equal(paint(given=(cached, mask)), cached)


def test_under_jit_and_vmap(snail, x64):
  shape = (2, 2, 3)
  fields = {"num_blocks": 1, "num_res_blocks": 1, "num_cond_blocks": 0}
  model, params, _, cond = snail(shape, num_classes=3, upper=((4, 1, 3),), **fields)
  keys = jax.random.split(KEY, 3)
  labels = jnp.asarray([[0, 1], [1, 2], [2, 0]], jnp.int32)

  @jax.jit
  @jax.vmap
  def draw(key, labels):
    codes = sample(key, model, params, shape, cond=cond._replace(labels=labels))
    return codes, log_prob(model, params, codes, cond=cond._replace(labels=labels))

  together, nats = draw(keys, labels)
  for n in range(3):
    one = cond._replace(labels=labels[n])
    np.testing.assert_array_equal(together[n], sample(keys[n], model, params, shape, cond=one))
    np.testing.assert_allclose(nats[n], log_prob(model, params, together[n], cond=one), rtol=1e-12)


def test_under_shard_map_and_vmap_over_params_and_conditions(snail):
  devices = jax.device_count()
  fields = {"num_classes": 3, "num_blocks": 1, "num_res_blocks": 1, "num_cond_blocks": 0}
  shape, upper = (devices, 2, 3), ((4, 1, 3),)
  model, params, _, cond = snail(shape, dtype=jnp.float32, upper=upper, **fields)
  mesh = jax.make_mesh((devices,), ("data",), (jax.sharding.AxisType.Auto,))

  def one(key, params, cond):
    index = jax.lax.axis_index("data")
    return sample(key[0], model, params, (1, 2, 3), cond=cond, first_index=index)

  data = jax.P("data")
  mapped = jax.shard_map(one, mesh=mesh, in_specs=(data, jax.P(), data), out_specs=data)
  expected = sample(KEY, model, params, shape, cond=cond)
  keys = jnp.stack([KEY] * devices)
  np.testing.assert_array_equal(jax.jit(mapped)(keys, params, cond), expected)

  other = jax.tree.map(lambda x: 0.5 * x, params), jax.tree.map(lambda x: x[::-1], cond)
  both = jax.tree.map(lambda *x: jnp.stack(x), (params, cond), other)
  draw = jax.vmap(lambda params, cond: sample(KEY, model, params, shape, cond=cond))
  wanted = sample(KEY, model, other[0], shape, cond=other[1])
  np.testing.assert_array_equal(jax.jit(draw)(*both), np.stack([expected, wanted]))


def test_labels_and_upper_codes_change_the_logits_they_should(snail, forced, x64):
  """A coarse code reaches what lies below it, and its neighbours by the stack's convolutions."""
  fields = {"attention": False, "num_blocks": 1, "num_res_blocks": 1, "num_cond_blocks": 0}
  model, params, codes, cond = snail((1, 2, 16), num_classes=2, upper=((4, 1, 8),), **fields)
  logits = forced(model, params, codes, cond)
  other = cond._replace(labels=1 - cond.labels)
  assert np.abs(forced(model, params, codes, other) - logits).max(-1).min() > 1e-6
  level = cond.codes[0].at[0, 0, 5].add(1) % 4
  changed = np.abs(forced(model, params, codes, cond._replace(codes=(level,))) - logits).max(-1)[0]
  # 3 wide and 2 times as large: columns 8..13 of both rows.
  np.testing.assert_array_equal(changed > 1e-9, np.tile((np.arange(16) // 2 - 5) ** 2 < 2, (2, 1)))


def test_a_level_that_says_nothing_is_as_good_as_none(snail, forced, x64):
  model, params, codes, cond = variant("below two", snail)
  table = params["cond_stack"]["levels_0"]
  silent = {**params["cond_stack"], "levels_0": jax.tree.map(jnp.zeros_like, table)}
  found = forced(model, {**params, "cond_stack": silent}, codes, cond)
  one = {**silent, "levels_0": silent.pop("levels_1")}
  expected = forced(
    model.clone(upper_codes=model.upper_codes[1:]),
    {**params, "cond_stack": one}, codes, Conditions(cond.labels, cond.codes[1:]),
  )  # fmt: skip
  np.testing.assert_allclose(found, expected, atol=1e-12)
  assert np.abs(forced(model, params, codes, cond) - expected).max() > 1e-3


@pytest.mark.parametrize("name", ["bottom", "below two"])
def test_every_parameter_has_a_gradient_that_is_not_zero(name, snail, x64):
  model, params, codes, cond = variant(name, snail, (4, 4, 6))

  @jax.jit
  def gradient(params):
    return jax.grad(lambda p: (model.apply({"params": p}, codes, cond) ** 2).sum())(params)

  for path, leaf in jax.tree.leaves_with_path(gradient(params)):
    leaf = np.abs(leaf)
    if path[0].key in ("first", "second", "cond_gates"):  # one layer at a time
      leaf = leaf.reshape(leaf.shape[0], -1).max(1)
    assert leaf.min() > 0 if leaf.ndim == 1 else leaf.max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize(("blocks", "layers", "attention"), [(1, 1, False), (2, 10, True)])
def test_a_new_model_is_near_uniform_and_learns_in_all_layers(blocks, layers, attention):
  model = PixelSNAIL(
    64, channels=32, res_channels=32, kernel_size=3, num_blocks=blocks, num_res_blocks=layers,
    num_out_blocks=1, num_heads=2, attention=attention,
  )  # fmt: skip
  codes = jax.random.randint(jax.random.key(0), (4, 8, 8), 0, 64, jnp.int32)

  @jax.jit
  def first_step(key):
    params = model.init(key, codes)["params"]

    def loss(params):
      log_probs = jax.nn.log_softmax(model.apply({"params": params}, codes))
      entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
      return -jnp.take_along_axis(log_probs, codes[..., None], -1).mean(), entropy

    return jax.grad(loss, has_aux=True)(params)

  gradient, entropy = first_step(jax.random.key(1))
  assert entropy > np.log(64) - 0.1
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
  for name in ("first", "second"):
    norms = jnp.sqrt((gradient[name]["above"] ** 2).sum((1, 2, 3, 4)))
    assert norms.shape == (blocks * layers,)
    assert norms.max() < 10 * norms.min()


def test_dropout_is_on_in_training_only(snail, forced):
  model, params, codes, cond = variant("top", snail, dtype=jnp.float32, dropout=0.5)
  without = forced(model.clone(dropout=0.0), params, codes, cond)
  np.testing.assert_array_equal(forced(model, params, codes, cond), without)

  @jax.jit
  def train(seed):
    rngs = {"dropout": jax.random.key(seed)}
    return model.apply({"params": params}, codes, cond, train=True, rngs=rngs)

  a, b = train(0), train(1)
  assert not np.allclose(a, without) and not np.allclose(a, b)


def test_dropout_is_in_every_place_it_should_be_in(snail):
  """By name: those of the layers, of every gated block, of attention's weights."""
  model, params, codes, cond = variant("below two", snail, dtype=jnp.float32, dropout=0.3)
  found = collections.Counter()

  def note(function, args, kwargs, context):
    if isinstance(context.module, nn.Dropout) and not kwargs["deterministic"]:
      assert context.module.rate == 0.3
      found["/".join(context.module.path)] += 1
    return function(*args, **kwargs)

  def run(train):
    rngs = {"dropout": KEY}
    with nn.intercept_methods(note):
      jax.eval_shape(lambda: model.apply({"params": params}, codes, cond, train=train, rngs=rngs))
    return dict(found)

  assert run(False) == {}
  gated = ("blocks_0/key", "blocks_0/query", "blocks_0/out", "cond_stack/blocks_0", "out_blocks_0")
  places = {f"{place}/Dropout_0": 1 for place in gated}
  assert run(True) == {"drop": model.num_layers, "blocks_0/attend/drop": 1, **places}


def test_steps_in_bfloat16_round_as_teacher_forcing_does(snail, stepped, forced):
  exact, params, codes, cond = variant("top", snail, dtype=jnp.float32)
  model = exact.clone(dtype=jnp.bfloat16)
  rough, expected = forced(model, params, codes, cond), forced(exact, params, codes, cond)
  found = stepped(model, params, codes, cond, jnp.int32(3))
  assert 1e-4 < np.abs(rough - expected).max() < 0.05 < 0.5 < np.std(expected)
  np.testing.assert_allclose(found, rough, atol=0.05)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_maps_smaller_than_the_kernel(size, snail, stepped, forced, x64):
  fields = {"kernel_size": 7, "num_blocks": 1, "num_res_blocks": 1}
  model, params, codes, cond = snail((1, *size), **fields)
  found = stepped(model, params, codes, cond, jnp.int32(3))
  np.testing.assert_allclose(found, forced(model, params, codes, cond), atol=1e-10)


def test_bfloat16_leaves_parameters_and_logits_in_float32(snail):
  for name in VARIANTS:
    model, params, codes, cond = variant(name, snail, dtype=jnp.bfloat16)
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}

    def run(params, model=model, codes=codes, cond=cond):
      apply = partial(model.apply, {"params": params})
      cache = apply(SHAPE, cond, method="init_cache")
      cache = apply(cache, codes, 0, method="begin_row")
      return apply(cache, codes, 0, 0, method="step"), apply(codes, cond)

    (cache, logits), forced = jax.eval_shape(run, params)
    assert logits.dtype == forced.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(cache)} == {jnp.dtype("bfloat16")}


def test_parameter_counts_at_full_size():
  """Sums over the layers by hand; rosinality's has weight_g and unused taps besides."""
  gated = 22 * 256 * 256 + 256 + 22 * 256 * 512 + 512
  embed, head = 12 * 512 * 256 + 2 * 256, 256 * 512 + 512
  key, query = (n * 256 + 256 + 256 * 2 * n + 2 * n for n in (514, 258))
  attention = 258 * 128 + 128 + 2 * (514 * 128 + 128)
  out = (256 + 128) * 256 + 256 + 256 * 512 + 512
  top = embed + 16 * gated + 4 * (key + query + attention + out) + head
  stack = 9 * 512 * 256 + 256 + 3 * (9 * 256 * 256 + 256 + 9 * 256 * 512 + 512)
  bottom = embed + 16 * (gated + 256 * 512) + 4 * (258 * 256 + 256) + head + stack
  assert (top, bottom) == (74_883_616, 79_776_256)
  upper = Conditions(codes=(jnp.zeros((1, 4, 4), jnp.int32),))
  for model, cond, expected in (
    (PixelSNAIL(), None, top),
    (PixelSNAIL(attention=False, upper_codes=(512,)), upper, bottom),
  ):
    shapes = jax.eval_shape(model.init, KEY, jnp.zeros((1, 8, 8), jnp.int32), cond)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


@pytest.mark.slow
def test_full_size_codes_are_those_of_the_teacher_forced_logits(stepped):
  """Each code drawn with the cache is the best of the teacher-forced scores, or ties with it."""
  shape, top_p = (1, 32, 32), 0.95
  model = PixelSNAIL()
  params = jax.jit(model.init)(KEY, jnp.zeros((1, 8, 8), jnp.int32))["params"]
  # As sharp as a trained model's: the scores then depend on the codes before.
  params["to_logits"]["kernel"] *= 10
  codes = sample(KEY, model, params, shape, top_p=top_p)
  forced = jax.jit(model.apply)({"params": params}, codes)
  error = float(jnp.abs(stepped(model, params, codes, None) - forced).max())
  assert error < 1e-4
  keys = jax.random.fold_in(KEY, 0)[None]
  different = 0
  for position in range(1024):
    logits = forced.reshape(1024, 1, -1)[position]
    noise = drawing._noise(keys, jnp.int32(position), 512, jnp.float32)
    scores = (drawing._filtered(logits - logits.max(), None, jnp.float32(top_p)) + noise)[0]
    drawn = int(codes.reshape(-1)[position])
    if drawn != int(scores.argmax()):
      best, second = np.sort(scores)[:-3:-1]
      assert best - second <= 2 * error and drawn == int(np.argsort(scores)[-2])
      different += 1
  print(f"largest error {error:.1e}; {different} of 1024 codes decided by rounding")
  assert different <= 2
