"""VideoPixelCNN: what a logit depends on, the cache over frames, given frames, costs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.priors import VideoConditions, VideoPixelCNN, log_prob, sample
from vqlab.priors.video_context import ContextBlock, turned, waves

KEY = jax.random.key(42)
FIELDS = {
  "num_codes": 5, "window": 2, "channels": 8, "num_encoder_blocks": 1, "num_context_blocks": 2,
  "num_heads": 2, "num_layers": 2, "kernel_size": 3, "hidden": 6,
}  # fmt: skip


def make(shape, *, dtype=jnp.float64, seed=0, kind=VideoPixelCNN, **fields):
  """A small model for codes of `shape`, with generic parameters, codes and conditions."""
  param_dtype = jnp.float64 if dtype == jnp.float64 else jnp.float32
  model = kind(map_shape=shape[2:], dtype=dtype, param_dtype=param_dtype, **{**FIELDS, **fields})
  # NumPy draws what JAX would compile a program for, one a shape.
  rng = np.random.default_rng(seed)

  def normal(x):
    scale = 0.5 if x.ndim < 2 else (x.size / x.shape[-1]) ** -0.5
    return jnp.asarray(scale * rng.standard_normal(x.shape), x.dtype)

  codes = jnp.asarray(rng.integers(model.num_codes, size=shape), jnp.int32)
  labels = actions = None
  if model.num_classes:
    labels = jnp.asarray(rng.integers(model.num_classes, size=shape[0]), jnp.int32)
  if model.action_dim:
    actions = jnp.asarray(rng.standard_normal((*shape[:2], model.action_dim)), param_dtype)
  cond = VideoConditions(labels, actions)
  shapes = jax.eval_shape(model.init, jax.random.key(0), codes, cond)["params"]
  return model, jax.tree.map(normal, shapes), codes, cond


@partial(jax.jit, static_argnums=0)
def stepped(model, params, codes, cond, fill):
  """The logits of `codes`, position by position; what is not drawn yet is `fill`."""
  _, T, H, W = codes.shape
  positions = jnp.arange(T * H * W, dtype=jnp.int32).reshape(codes.shape[1:])

  def apply(function, *args):
    return model.apply({"params": params}, *args, method=function)

  def drawn_before(position):
    return jnp.where(positions < position, codes, fill)

  def one_frame(cache, frame):
    cache = apply("begin_frame", cache, drawn_before(frame * H * W), frame)

    def one_row(cache, row):
      cache = apply("begin_row", cache, drawn_before(row * W), row)

      def one_step(cache, index):
        return apply("step", cache, drawn_before(row * W + index), row, index)

      return jax.lax.scan(one_step, cache, jnp.arange(W, dtype=jnp.int32))

    return jax.lax.scan(one_row, cache, frame * H + jnp.arange(H, dtype=jnp.int32))

  cache = apply("init_cache", codes.shape, cond)
  _, logits = jax.lax.scan(one_frame, cache, jnp.arange(T, dtype=jnp.int32))
  return jnp.moveaxis(logits, 3, 0)


def test_a_logit_depends_on_earlier_codes_of_its_frame_and_on_all_of_the_window(forced, x64):
  """One batch entry a position, in which that position's code is changed."""
  T, S = 4, 6
  model, params, codes, _ = make((1, T, 2, 3))
  changed = (codes.reshape(-1) + jnp.eye(T * S, dtype=jnp.int32)) % model.num_codes
  both = jnp.concatenate([codes.reshape(1, -1), changed]).reshape(-1, T, 2, 3)
  logits = forced(model, params, both, None).reshape(T * S + 1, T * S, -1)
  difference = np.abs(logits[1:] - logits[:1]).max(-1).T  # [logit's position, changed position]
  frame = np.arange(T * S) // S
  ago = frame[:, None] - frame
  reads = ((ago == 0) & np.tri(T * S, k=-1, dtype=bool)) | ((ago > 0) & (ago <= model.window))
  assert difference[~reads].max() < 1e-13  # the batch entries round differently
  assert difference[reads].min() > 1e-9


def test_steps_equal_teacher_forcing_whatever_is_not_drawn_yet(forced, x64):
  """The last code's embeddings are NaN: no logit shows it while no drawn code is that one."""
  model, params, codes, cond = make((2, 4, 2, 3), num_classes=3, action_dim=2)
  codes, fill = codes % 4, jnp.int32(4)
  expected = forced(model, params, codes, cond)
  assert expected.dtype == jnp.float64 and expected.shape == (2, 4, 2, 3, 5)
  for table in (params["embed"], params["decoder"]["embed"]):
    table["embedding"] = table["embedding"].at[4].set(jnp.nan)
  np.testing.assert_allclose(stepped(model, params, codes, cond, fill), expected, atol=1e-10)


def test_cached_and_naive_codes_are_the_same_and_so_are_their_probabilities(x64):
  """Freely drawn, and where frames and single codes are given."""
  shape = (4, 4, 2, 3)
  model, params, other, cond = make(shape, num_classes=3, action_dim=2)
  mask = jax.random.bernoulli(KEY, 0.4, shape).at[:, 0].set(True).at[:, 3].set(False)
  for given in (None, (other, mask)):
    draw = partial(sample, KEY, model, params, shape, cond=cond, given=given)
    codes, naive = draw(), draw(method="naive")
    assert codes.dtype == jnp.int32 and codes.shape == shape
    np.testing.assert_array_equal(codes, naive)
    if given:
      np.testing.assert_array_equal(codes[mask], other[mask])
    else:
      assert len(np.unique(codes)) == model.num_codes
    # Here no frame is left out, and nothing else comes of it.
    unskipped, log_probs = draw(with_log_probs=True)
    np.testing.assert_array_equal(unskipped, codes)
    each = log_prob(model, params, codes, cond=cond, per_position=True)
    np.testing.assert_allclose(log_probs, each, atol=1e-10)


class Counted(VideoPixelCNN):
  """Tells which rows are begun."""

  def begin_row(self, cache, codes, row):
    jax.debug.callback(lambda row: ROWS.append(int(row)), row)
    return super().begin_row(cache, codes, row)


ROWS = []


def test_frames_given_to_the_whole_batch_are_not_gone_through():
  shape = (2, 4, 2, 2)
  model, params, codes, _ = make(shape, dtype=jnp.float32, kind=Counted, num_layers=1)
  # Frame 0 is given, frame 1 to one video alone, frame 2 but for a code, frame 3 not at all.
  mask = jnp.zeros(shape, bool).at[:, 0].set(True).at[0, 1].set(True)
  mask = mask.at[:, 2].set(True).at[1, 2, 1, 1].set(False)
  for with_log_probs, begun in ((False, [2, 3, 4, 5, 6, 7]), (True, [0, 1, 2, 3, 4, 5, 6, 7])):
    ROWS.clear()
    options = {"given": (codes, mask), "with_log_probs": with_log_probs}
    jax.block_until_ready(sample(KEY, model, params, shape, **options))
    jax.effects_barrier()
    assert sorted(ROWS) == begun


def test_codes_do_not_depend_on_the_batch_nor_earlier_ones_on_how_many_frames_follow(x64):
  model, params, _, cond = make((4, 3, 2, 2), action_dim=2, num_layers=1)
  draw = partial(sample, KEY, model, params)
  together = draw((4, 3, 2, 2), cond=cond)
  half, fewer = cond._replace(actions=cond.actions[2:]), cond._replace(actions=cond.actions[:, :2])
  np.testing.assert_array_equal(draw((2, 3, 2, 2), cond=half, first_index=2), together[2:])
  np.testing.assert_array_equal(draw((4, 2, 2, 2), cond=fewer), together[:, :2])


def test_an_action_reaches_its_own_frame_and_a_label_all(forced, x64):
  """One batch entry a frame, in which the action that leads to it is changed."""
  T = 3
  model, params, codes, cond = make((1, T, 2, 2), num_classes=2, action_dim=2, num_layers=1)
  codes = jnp.broadcast_to(codes, (T + 2, T, 2, 2))
  actions = jnp.broadcast_to(cond.actions, (T + 2, T, 2))
  actions = actions.at[jnp.arange(1, T + 1), jnp.arange(T)].add(1).at[1, 0].set(jnp.nan)
  labels = jnp.zeros(T + 2, jnp.int32).at[-1].set(1)
  logits = forced(model, params, codes, VideoConditions(labels, actions)).reshape(T + 2, T, -1)
  changed = np.abs(logits[1:] - logits[:1]).max(-1)
  # Nothing leads to frame 0.
  expected = np.asarray([[0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], bool)
  assert changed[expected].min() > 1e-6 and changed[~expected].max() < 1e-13


def test_every_parameter_has_a_gradient_that_is_not_zero(x64):
  model, params, codes, cond = make((3, 3, 2, 3), num_classes=2, action_dim=2, num_layers=1)

  @jax.jit
  def gradient(params):
    return jax.grad(lambda p: (model.apply({"params": p}, codes, cond) ** 2).sum())(params)

  for path, leaf in jax.tree.leaves_with_path(gradient(params)):
    assert np.abs(leaf).max() > 1e-9, jax.tree_util.keystr(path)


def test_a_frame_costs_the_same_in_every_video(equations):
  """Read off the jaxpr: only slices take anything that has the number of frames in its shape."""
  model, params, _, _ = make((2, 3, 2, 2), dtype=jnp.float32, num_classes=2, action_dim=3)

  def costs(function, T):
    """What every equation reads and writes; of a slice, what it cuts out."""
    codes, cond = jnp.zeros((2, T, 2, 2), jnp.int32), make((2, T, 2, 2), **KINDS)[3]
    cache = jax.eval_shape(
      lambda: model.apply({"params": params}, codes.shape, cond, method="init_cache")
    )
    index = (1, 1)[: 2 if function == "step" else 1]
    jaxpr = jax.make_jaxpr(
      lambda cache: model.apply({"params": params}, cache, codes, *index, method=function)
    )(cache)
    found = []
    for equation in equations(jaxpr.jaxpr):
      read = [] if equation.primitive.name == "dynamic_slice" else equation.invars
      shapes = [v.aval.shape for v in (*read, *equation.outvars)]
      found.append((equation.primitive.name, *shapes))
    return found, [x.shape for x in jax.tree.leaves(cache._replace(actions=None))]

  for function in ("begin_frame", "begin_row", "step"):
    assert costs(function, 7) == costs(function, 64)


KINDS = {"dtype": jnp.float32, "num_classes": 2, "action_dim": 3}


def test_a_context_block_equals_its_equations(x64):
  M, F, S, N, C = 2, 3, 4, 2, 6
  block = ContextBlock(C, N, F, 0.0, jnp.float64, jnp.float64)
  rng = np.random.default_rng(0)
  x, places = rng.standard_normal((M, S, C)), rng.standard_normal((S, C))
  features = rng.standard_normal((M, F, S, 5))
  known = np.asarray([[True, False, True], [False, False, False]])

  def run(block, x):
    keys, values = block.keys_values(jnp.asarray(features), jnp.asarray(places))
    return block(x, keys, values, jnp.asarray(known), train=False)

  shapes = jax.eval_shape(partial(block.init, method=run), KEY, jnp.asarray(x))
  p = jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape)), shapes)["params"]
  found = jax.jit(lambda p: block.apply({"params": p}, jnp.asarray(x), method=run))(p)

  p = jax.tree.map(np.asarray, p)
  dense = lambda x, name: x @ p[name]["kernel"] + p[name].get("bias", 0)
  normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  query = dense(normal * p["norm"]["scale"] + p["norm"]["bias"], "query")
  keys, values = dense(features, "key") + dense(places, "key_place"), dense(features, "value")
  seen = np.zeros((M, S, C))
  for m, s, n in np.ndindex(M, S, N):
    head = slice(n * C // N, (n + 1) * C // N)
    scores = keys[m, :, :, head] @ query[m, s, head] / np.sqrt(C // N) + p["ago"][n][:, None]
    weights = np.exp(scores) * known[m][:, None]
    if known[m].any():
      seen[m, s, head] = np.tensordot(weights / weights.sum(), values[m, :, :, head], 2)
  x = x + dense(seen, "out")
  elu = lambda x: np.where(x > 0, x, np.expm1(x))
  of = lambda x, name: elu(x) @ p["gated"][name]["kernel"] + p["gated"][name]["bias"]
  signal, gate = np.split(of(of(x, "first"), "second"), 2, -1)
  np.testing.assert_allclose(found, x + signal / (1 + np.exp(-gate)), atol=1e-10)


def test_shifts_of_positions_are_turns():
  """Around the edges too: embeddings of all positions times one vector are those shifted."""
  H, W, C = 5, 6, 24
  places = waves(KEY, (H, W, C), jnp.float32)
  down, right = (
    turned(places[1, 0], inverse(places[0, 0])),
    turned(places[0, 1], inverse(places[0, 0])),
  )
  np.testing.assert_allclose(turned(places, down), np.roll(places, -1, 0), atol=1e-5)
  np.testing.assert_allclose(turned(places, right), np.roll(places, -1, 1), atol=1e-5)
  products = np.array(jnp.einsum("ijc,klc->ijkl", places, places)).reshape(H * W, H * W)
  np.fill_diagonal(products, products.diagonal() - 1)
  np.testing.assert_array_equal(products.argmax(1), np.arange(H * W))


def inverse(x):
  """Of pairs of absolute value sqrt(2)."""
  return (x.reshape(-1, 2) * jnp.asarray([0.5, -0.5])).reshape(-1)


def test_under_vmap_frames_are_given_to_some(x64):
  shape = (1, 2, 2, 2)
  model, params, codes, _ = make(shape, num_layers=1, num_context_blocks=1)
  masks = jnp.stack([jnp.zeros(shape, bool).at[:, 0].set(True), jnp.zeros(shape, bool)])
  draw = lambda mask: sample(KEY, model, params, shape, given=(codes, mask))
  np.testing.assert_array_equal(jax.vmap(draw)(masks), np.stack([draw(mask) for mask in masks]))


def test_samples_under_shard_map_are_those_of_one_device():
  devices = jax.device_count()
  shape = (devices, 2, 2, 2)
  model, params, codes, cond = make(
    shape, dtype=jnp.float32, action_dim=2, num_layers=1, num_context_blocks=1
  )
  mesh = jax.make_mesh((devices,), ("data",), (jax.sharding.AxisType.Auto,))
  mask = jnp.zeros(shape, bool).at[::2, 0].set(True)

  def one(params, cond, codes, mask):
    return sample(
      KEY, model, params, (1, *shape[1:]), cond=cond, given=(codes, mask),
      first_index=jax.lax.axis_index("data"),
    )  # fmt: skip

  data = jax.P("data")
  mapped = jax.shard_map(one, mesh=mesh, in_specs=(jax.P(), data, data, data), out_specs=data)
  expected = sample(KEY, model, params, shape, cond=cond, given=(codes, mask))
  np.testing.assert_array_equal(jax.jit(mapped)(params, cond, codes, mask), expected)


def test_dropout_is_on_in_training_only(forced):
  model, params, codes, _ = make((1, 2, 2, 2), dtype=jnp.float32, dropout=0.5, num_layers=1)
  train = jax.jit(
    lambda key: model.apply({"params": params}, codes, train=True, rngs={"dropout": key})
  )
  without = forced(model.clone(dropout=0.0), params, codes, None)
  np.testing.assert_array_equal(forced(model, params, codes, None), without)
  assert not np.allclose(train(KEY), without)
  assert not np.allclose(train(KEY), train(jax.random.key(1)))


def test_bfloat16_leaves_parameters_and_logits_in_float32():
  model, params, codes, cond = make((1, 2, 2, 2), dtype=jnp.bfloat16, action_dim=2)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}

  def step(params):
    apply = partial(model.apply, {"params": params})
    cache = apply(apply(codes.shape, cond, method="init_cache"), codes, 0, method="begin_frame")
    return apply(codes, cond), cache, apply(cache, codes, 0, 0, method="step")[1]

  logits, cache, stepped = jax.eval_shape(step, params)
  assert logits.dtype == stepped.dtype == jnp.float32
  assert {x.dtype for x in jax.tree.leaves(cache)} == {jnp.dtype("bfloat16")}


F32 = jnp.float32
BAD_INPUTS = {
  "rank": ({}, (2, 2, 2), None, r"codes have shape \[2, 2, 2\]; .*it must be \[B, T, 2, 2\]"),
  "map": ({}, (2, 3, 2, 4), None, r"with map_shape=\(2, 2\) it must be"),
  "needless labels": ({}, (2, 3, 2, 2), jnp.zeros(2, int), "cond has labels; this model takes"),
  "missing labels": ({"num_classes": 4}, (2, 3, 2, 2), None, "no labels: this model has 4 classes"),
  "labels": ({"num_classes": 4}, (2, 3, 2, 2), jnp.zeros(3, int), r"\[3\]; it must be \[2\]"),
  "needless actions": (
    {}, (2, 3, 2, 2), VideoConditions(actions=jnp.zeros((2, 3, 1))), "cond has actions; this model",
  ),
  "missing actions": (
    {"action_dim": 4}, (2, 3, 2, 2), None, r"no actions: .*VideoConditions\(actions=\[2, 3, 4\]\)",
  ),
  "length": (
    {"action_dim": 4}, (2, 3, 2, 2), VideoConditions(actions=jnp.zeros((2, 2, 4))),
    r"actions have shape \[2, 2, 4\]; it must be \[2, 3, 4\]",
  ),
  "whole actions": (
    {"action_dim": 4}, (2, 3, 2, 2), VideoConditions(actions=jnp.zeros((2, 3, 4), int)),
    "actions are int32; they must be floating point",
  ),
  "odd channels": ({"channels": 7}, (2, 3, 2, 2), None, "channels is 7; they come in pairs"),
  "heads": ({"num_heads": 3}, (2, 3, 2, 2), None, "num_heads is 3; it must divide the 8 channels"),
  "window": ({"window": 0}, (2, 3, 2, 2), None, "window is 0; it must be at least 1"),
  "even kernel": ({"kernel_size": 4}, (2, 3, 2, 2), None, "kernel_size is 4"),
}  # fmt: skip


@pytest.mark.parametrize(
  ("fields", "shape", "cond", "message"), BAD_INPUTS.values(), ids=BAD_INPUTS
)
def test_bad_input_is_one_clear_line(fields, shape, cond, message):
  model = VideoPixelCNN(map_shape=(2, 2), **{**FIELDS, **fields})
  calls = [
    lambda: jax.eval_shape(model.init, KEY, jnp.zeros(shape, jnp.int32), cond),
    lambda: model.init(KEY, shape, cond, method="init_cache"),
  ]
  for call in calls:
    with pytest.raises(ValueError, match=message) as error:
      call()
    assert "\n" not in str(error.value)


def test_values_out_of_range_are_named():
  model, params, codes, cond = make((2, 2, 2, 2), dtype=jnp.float32, num_classes=3)
  with pytest.raises(ValueError, match=r"labels run from 3 to 3; they must be in \[0, 3\)"):
    sample(KEY, model, params, codes.shape, cond=cond._replace(labels=jnp.full(2, 3)))
  with pytest.raises(ValueError, match=r"codes run from -1 to -1"):
    log_prob(model, params, codes * 0 - 1, cond=cond)
  with pytest.raises(ValueError, match="codes are float32"):
    model.init(KEY, codes.astype(F32), cond)
  with pytest.raises(ValueError, match=r"map_shape is \[2, 2\]; it must be a tuple"):
    VideoPixelCNN(5, map_shape=[2, 2])
