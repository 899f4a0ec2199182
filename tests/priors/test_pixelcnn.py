"""Gated PixelCNN: what a logit depends on, the cache, an independent implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.priors import Conditions, PixelCNN

SHAPES = [(4, 5), (3, 4, 3)]  # H, W and codes per position


@pytest.mark.parametrize("shape", SHAPES)
def test_a_logit_depends_on_every_earlier_code_and_on_no_other(shape, prior, forced, x64):
  """One batch entry a position, in which that position's code is changed."""
  size = int(np.prod(shape))
  model, params, _, _ = prior((1, *shape))
  codes = jax.random.randint(jax.random.key(1), (size,), 0, model.num_codes, jnp.int32)
  changed = (codes + jnp.eye(size, dtype=jnp.int32)) % model.num_codes
  both = jnp.concatenate([codes[None], changed]).reshape(-1, *shape)
  logits = forced(model, params, both, None).reshape(size + 1, size, -1)
  difference = np.abs(logits[1:] - logits[:1]).max(-1)  # [changed position, logit's position]
  earlier = np.triu(np.ones((size, size), bool), 1)
  assert difference[~earlier].max() < 1e-14  # the batch entries round differently
  assert difference[earlier].min() > 1e-9  # so there is no blind spot


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 3, 4, 3)])
def test_steps_equal_teacher_forcing(shape, conditioned, prior, stepped, forced, x64):
  fields = {"num_classes": 3, "map_shape": shape[1:3]} if conditioned else {}
  model, params, codes, cond = prior(shape, num_layers=2, **fields)
  expected = forced(model, params, codes, cond)
  assert expected.dtype == jnp.float64 and expected.shape == (*shape, 5)
  np.testing.assert_allclose(stepped(model, params, codes, cond), expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 3, 4, 3)])
def test_steps_equal_teacher_forcing_with_features(shape, prior, stepped, forced, x64):
  fields = {"num_features": 3, "num_layers": 2}
  model, params, codes, cond = prior(shape, num_classes=2, **fields)
  expected = forced(model, params, codes, cond)
  np.testing.assert_allclose(stepped(model, params, codes, cond), expected, atol=1e-10)
  of_map = cond._replace(features=cond.features[:, 1, 2])
  found = forced(model, params, codes, of_map)
  np.testing.assert_allclose(stepped(model, params, codes, of_map), found, atol=1e-10)
  # Features of the whole map are the same at all positions.
  everywhere = cond._replace(
    features=jnp.broadcast_to(of_map.features[:, None, None], (2, 4, 5, 3))
  )
  if len(shape) == 3:
    np.testing.assert_allclose(forced(model, params, codes, everywhere), found, atol=1e-12)
    assert np.abs(found - expected).max() > 1e-3


def test_features_are_a_bias_beside_the_labels(prior, forced, x64):
  """One-hot features of the map, multiplied by what was the labels' table, are those labels."""
  model, params, codes, cond = prior((3, 3, 4), num_classes=3, num_layers=2)
  table = params.pop("labels")["embedding"]
  other = {**params, "features": {"kernel": table}}
  features = Conditions(features=jax.nn.one_hot(cond, 3, dtype=jnp.float64))
  found = forced(model.clone(num_classes=0, num_features=3), other, codes, features)
  expected = forced(model, {**params, "labels": {"embedding": table}}, codes, cond)
  np.testing.assert_allclose(found, expected, atol=1e-12)


def test_logits_have_gradients_by_the_features_of_their_position_and_earlier_ones(prior, x64):
  model, params, codes, cond = prior((1, 3, 3), num_features=2, num_layers=2, kernel_size=3)

  def logit(features):
    return model.apply({"params": params}, codes, cond._replace(features=features))[0, 1, 1, 0]

  gradient = np.abs(jax.jit(jax.grad(logit))(cond.features)[0]).max(-1)
  reads = np.asarray([[1, 1, 1], [1, 1, 1], [0, 0, 0]], bool)  # by the vertical stack
  assert gradient[reads].min() > 1e-9
  assert gradient[~reads].max() == 0


def test_a_model_without_features_has_the_parameters_it_always_had():
  codes = jnp.zeros((1, 3, 3), jnp.int32)
  model = PixelCNN(5, num_classes=2, channels=4, num_layers=1)
  params = jax.jit(model.init)(jax.random.key(0), codes, jnp.zeros(1, jnp.int32))["params"]
  names = {"embed", "labels", "layers_0", "to_hidden", "out_kernel", "out_bias"}
  assert set(params) == names
  assert set(params["layers_0"]) == {"vertical", "link", "horizontal", "residual"}
  cond = Conditions(jnp.zeros(1, jnp.int32), features=jnp.zeros((1, 3)))
  more = jax.jit(model.clone(num_features=3).init)(jax.random.key(0), codes, cond)["params"]
  assert more.pop("features")["kernel"].shape == (3, 4 * 4)
  jax.tree.map(np.testing.assert_array_equal, more, params)


def test_equals_the_equations_position_by_position(prior, forced, x64):
  """The equations of the module's docstring, one position and one tap after the other."""
  H, W, r = 3, 4, 1
  model, params, codes, cond = prior((1, H, W), num_classes=3, kernel_size=3, num_layers=2)
  p = jax.tree.map(np.asarray, params)
  x = p["embed"]["embedding"][codes[0]]
  labels = p["labels"]["embedding"][int(cond[0])].reshape(2, 2, -1)

  def convolve(x, weights, taps):
    out = np.tile(weights["bias"], (H, W, 1))
    for i, j in np.ndindex(H, W):
      for (a, b), kernel in zip(taps, weights["kernel"].reshape(len(taps), 6, 12), strict=True):
        if 0 <= i + a < H and 0 <= j + b < W:
          out[i, j] += x[i + a, j + b] @ kernel
    return out

  def gate(x):
    return np.tanh(x[..., :6]) / (1 + np.exp(-x[..., 6:]))

  v, h = np.zeros_like(x), np.zeros_like(x)
  v[1:], h[:, 1:] = x[:-1], x[:, :-1]
  for k in range(2):
    layer = p[f"layers_{k}"]
    taps = [(a, b) for a in range(-r, 1) for b in range(-r, r + 1)]
    a = convolve(v, layer["vertical"], taps) + labels[k, 0]
    b = convolve(h, layer["horizontal"], [(0, b) for b in range(-r, 1)]) + labels[k, 1]
    v, b = gate(a), b + a @ layer["link"]["kernel"]
    h = h + gate(b) @ layer["residual"]["kernel"] + layer["residual"]["bias"]
  hidden = np.maximum(h, 0) @ p["to_hidden"]["kernel"] + p["to_hidden"]["bias"]
  expected = np.maximum(hidden, 0) @ p["out_kernel"][0] + p["out_bias"][0]
  np.testing.assert_allclose(forced(model, params, codes, cond)[0], expected, atol=1e-12)


@pytest.mark.parametrize("codes_per_position", [1, 3])
def test_a_step_costs_the_same_on_every_map(codes_per_position, equations):
  """Read off the jaxpr: only slices take anything that has the size of a map."""
  group = () if codes_per_position == 1 else (codes_per_position,)
  cond = jnp.zeros(2, jnp.int32)

  def costs(function, H, W):
    """What every equation reads and writes; of a slice, what it cuts out."""
    codes = jnp.zeros((2, H, W, *group), jnp.int32)
    model = PixelCNN(
      5,
      codes_per_position=codes_per_position,
      num_classes=2,
      map_shape=(H, W),
      channels=6,
      num_layers=2,
      hidden=8,
    )
    params = jax.eval_shape(model.init, jax.random.key(0), codes, cond)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)
    cache = model.apply(zeros, codes.shape, cond, method="init_cache")
    args = (cache, codes, 1, 1)[: 4 if function == "step" else 3]
    jaxpr = jax.make_jaxpr(lambda *args: model.apply(zeros, *args, method=function))(*args)
    found = []
    for equation in equations(jaxpr.jaxpr):
      read = [] if equation.primitive.name == "dynamic_slice" else equation.invars
      shapes = [v.aval.shape for v in (*read, *equation.outvars)]
      found.append((equation.primitive.name, *shapes))
    return found

  small, large = costs("step", 8, 8), costs("step", 32, 32)
  assert small == large
  assert {"dot_general", "dynamic_slice"} <= {name for name, *_ in small}
  # Beginning a row does not depend on the number of rows.
  assert costs("begin_row", 8, 8) == costs("begin_row", 32, 8)


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 3, 3, 2)])
def test_bfloat16_leaves_parameters_and_logits_in_float32(shape, prior):
  model, params, codes, cond = prior(shape, dtype=jnp.bfloat16)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
  logits = jax.eval_shape(model.apply, {"params": params}, codes, cond)
  assert logits.dtype == jnp.float32

  def step(params):
    cache = model.apply({"params": params}, shape, cond, method="init_cache")
    return model.apply({"params": params}, cache, codes, 0, 0, method="step")

  cache, logits = jax.eval_shape(step, params)
  assert logits.dtype == jnp.float32
  assert {x.dtype for x in jax.tree.leaves(cache)} == {jnp.dtype("bfloat16")}


def test_every_parameter_has_a_gradient_that_is_not_zero(prior, x64):
  model, params, codes, cond = prior((8, 3, 3, 2), num_classes=2, num_layers=2)

  @jax.jit
  def gradient(params):
    return jax.grad(lambda p: (model.apply({"params": p}, codes, cond) ** 2).sum())(params)

  for path, leaf in jax.tree.leaves_with_path(gradient(params)):
    assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_a_new_model_lets_the_rows_far_above_through():
  """The vertical stack of an untrained model keeps most of its signal from layer to layer."""
  model = PixelCNN(16, channels=32, num_layers=8, kernel_size=3)
  codes = jax.random.randint(jax.random.key(0), (4, 12, 12), 0, 16, jnp.int32)

  @jax.jit
  def vertical_deviations(key):
    _, state = model.init_with_output(key, codes, capture_intermediates=True)
    layers = state["intermediates"]
    return jnp.stack([layers[f"layers_{k}"]["__call__"][0][0].std() for k in range(8)])

  first, *_, last = vertical_deviations(jax.random.key(1))
  assert last > first / 8  # 2**-7 with the usual initialisation


def test_dropout_is_on_in_training_only(prior):
  model, params, codes, _ = prior((2, 3, 3), dtype=jnp.float32, dropout=0.5)
  without = model.clone(dropout=0.0).apply({"params": params}, codes)
  np.testing.assert_array_equal(model.apply({"params": params}, codes), without)
  a, b = (
    model.apply({"params": params}, codes, train=True, rngs={"dropout": jax.random.key(seed)})
    for seed in (0, 1)
  )
  assert not np.allclose(a, without) and not np.allclose(a, b)


BAD_INPUTS = {
  "rank": ({}, (2, 3, 3, 1), None, r"codes have shape \[2, 3, 3, 1\].*must be \[B, H, W\]"),
  "group": ({"codes_per_position": 2}, (2, 3, 3, 3), None, r"must be \[B, H, W, 2\]"),
  "needless cond": ({}, (2, 3, 3), (2,), "unconditional"),
  "missing cond": ({"num_classes": 4}, (2, 3, 3), None, "cond is missing: this model has 4"),
  "cond shape": ({"num_classes": 4}, (2, 3, 3), (3,), r"cond is int32\[3\].*int32\[2\]"),
  "cond rank": ({"num_classes": 4}, (2, 3, 3), (2, 1), r"cond is int32\[2, 1\]"),
  "map shape": ({"map_shape": (4, 4)}, (2, 3, 3), None, r"\[2, 3, 3\]; with map_shape=\(4, 4\)"),
  "classes": ({"num_classes": -1}, (2, 3, 3), None, "num_classes is -1"),
  "dropout": ({"dropout": 1.5}, (2, 3, 3), None, "dropout is 1.5"),
  "even kernel": ({"kernel_size": 4}, (2, 3, 3), None, "kernel_size is 4"),
}


@pytest.mark.parametrize(
  ("fields", "shape", "cond", "message"), BAD_INPUTS.values(), ids=BAD_INPUTS
)
def test_bad_input_is_one_clear_line(fields, shape, cond, message):
  model = PixelCNN(5, channels=4, num_layers=1, **fields)
  cond = None if cond is None else jnp.zeros(cond, jnp.int32)
  with pytest.raises(ValueError, match=message) as error:
    jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape, jnp.int32), cond)
  assert "\n" not in str(error.value)
  with pytest.raises(ValueError, match=message):
    model.init(jax.random.key(0), shape, cond, method="init_cache")


def test_a_list_as_map_shape_is_refused_at_once():
  with pytest.raises(ValueError, match=r"map_shape is \[8, 8\]; it must be a tuple"):
    PixelCNN(5, map_shape=[8, 8])


def test_codes_and_labels_must_be_integers():
  model = PixelCNN(5, channels=4, num_layers=1, num_classes=2)
  codes, labels = jnp.zeros((2, 3, 3), jnp.int32), jnp.zeros(2, jnp.int32)
  with pytest.raises(ValueError, match="codes are float32"):
    model.init(jax.random.key(0), codes.astype(jnp.float32), labels)
  with pytest.raises(ValueError, match=r"cond is float32\[2\]"):
    model.init(jax.random.key(0), codes, labels.astype(jnp.float32))
  with pytest.raises(ValueError, match="codes of 1 upper levels; PixelCNN takes none"):
    model.init(jax.random.key(0), codes, Conditions(labels, (codes,)))


BAD_FEATURES = {
  "needless": (0, (2, 3), "cond has features; this model takes none"),
  "missing": (4, None, r"no features: .*features=\[2, 3, 3, 4\] or \[2, 4\]"),
  "map": (4, (2, 3, 4, 4), r"shape \[2, 3, 4, 4\]; it must be \[2, 3, 3, 4\] or \[2, 4\]"),
  "width": (4, (2, 3), r"features have shape \[2, 3\]; it must be"),
}


@pytest.mark.parametrize(("width", "features", "message"), BAD_FEATURES.values(), ids=BAD_FEATURES)
def test_bad_features_are_one_clear_line(width, features, message):
  cond = Conditions(features=None if features is None else jnp.zeros(features))
  model = PixelCNN(5, channels=4, num_layers=1, num_features=width)
  with pytest.raises(ValueError, match=message) as error:
    jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 3, 3), jnp.int32), cond)
  assert "\n" not in str(error.value)
  with pytest.raises(ValueError, match="features are int32"):
    cond = Conditions(features=jnp.zeros((2, 4), jnp.int32))
    model.clone(num_features=4).init(jax.random.key(0), (2, 3, 3), cond, method="init_cache")
