"""What the tests of priors share."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.priors import Conditions, PixelCNN, PixelSNAIL


def make_prior(shape, *, dtype=jnp.float64, seed=0, **fields):
  """A small PixelCNN for codes of `shape`, with generic parameters (no bias is zero)."""
  model = PixelCNN(
    codes_per_position=shape[3] if len(shape) == 4 else 1,
    dtype=dtype,
    param_dtype=jnp.float64 if dtype == jnp.float64 else jnp.float32,
    **{"num_codes": 5, "channels": 6, "num_layers": 3, "hidden": 8, **fields},
  )
  key = jax.random.key(seed)
  codes = jax.random.randint(jax.random.fold_in(key, 0), shape, 0, model.num_codes, jnp.int32)
  cond = None
  if model.num_classes:
    cond = jax.random.randint(
      jax.random.fold_in(key, 1), shape[:1], 0, model.num_classes, jnp.int32
    )
  if model.num_features:
    features = jax.random.normal(
      jax.random.fold_in(key, 3), (*shape[:3], model.num_features), model.param_dtype
    )
    cond = Conditions(cond, features=features)
  shapes = jax.eval_shape(model.init, key, codes, cond)["params"]
  leaves, treedef = jax.tree.flatten(shapes)
  keys = jax.random.split(jax.random.fold_in(key, 2), len(leaves))
  scales = [0.5 if x.ndim < 3 else (x.size / x.shape[-1]) ** -0.5 for x in leaves]
  params = [
    s * jax.random.normal(k, x.shape, x.dtype) for s, k, x in zip(scales, keys, leaves, strict=True)
  ]
  return model, treedef.unflatten(params), codes, cond


def make_snail(shape, *, upper=(), dtype=jnp.float64, seed=0, **fields):
  """A small PixelSNAIL for codes of `shape`, with generic parameters.

  upper: ((K, h, w), ...) of the levels that it is conditioned on, with codes of which the
    conditions come back.
  """
  model = PixelSNAIL(
    upper_codes=tuple(K for K, *_ in upper),
    dtype=dtype,
    param_dtype=jnp.float64 if dtype == jnp.float64 else jnp.float32,
    **{
      **{"num_codes": 5, "channels": 8, "res_channels": 6, "kernel_size": 3, "num_heads": 2},
      **{"num_blocks": 2, "num_res_blocks": 2, "num_cond_blocks": 1, "cond_channels": 4},
      **fields,
    },
  )
  # NumPy draws what JAX would compile a program for, one a shape.
  rng = np.random.default_rng(seed)

  def integers(size, *shape):
    return jnp.asarray(rng.integers(size, size=shape), jnp.int32)

  codes = integers(model.num_codes, *shape)
  labels = integers(model.num_classes, shape[0]) if model.num_classes else None
  cond = Conditions(labels, tuple(integers(K, shape[0], h, w) for K, h, w in upper))

  def normal(x):
    scale = 0.5 if x.ndim < 2 else (x.size / x.shape[-1]) ** -0.5
    return jnp.asarray(scale * rng.standard_normal(x.shape), x.dtype)

  shapes = jax.eval_shape(model.init, jax.random.key(0), codes, cond)["params"]
  return model, jax.tree.map(normal, shapes), codes, cond


@partial(jax.jit, static_argnums=0)
def stepped_logits(model, params, codes, cond, fill=0):
  """The logits of `codes`, position by position; what is not drawn yet is `fill`."""

  def apply(function, *args):
    return model.apply({"params": params}, *args, method=function)

  rows, width = codes.shape[1], codes[0, 0].size
  positions = jnp.arange(rows * width, dtype=jnp.int32)

  def drawn_before(position):
    return jnp.where(positions.reshape(codes.shape[1:]) < position, codes, fill)

  def one_row(cache, row):
    cache = apply("begin_row", cache, drawn_before(row * width), row)

    def one_step(cache, index):
      return apply("step", cache, drawn_before(row * width + index), row, index)

    return jax.lax.scan(one_step, cache, jnp.arange(width, dtype=jnp.int32))

  cache = apply("init_cache", codes.shape, cond)
  _, logits = jax.lax.scan(one_row, cache, jnp.arange(rows, dtype=jnp.int32))
  return jnp.moveaxis(logits, 2, 0).reshape(*codes.shape, -1)


@partial(jax.jit, static_argnums=0)
def forced_logits(model, params, codes, cond):
  return model.apply({"params": params}, codes, cond)


def equations_of(jaxpr):
  """All equations, those of inner jaxprs in place of the equation that holds them."""
  for equation in jaxpr.eqns:
    inner = []
    for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
      inner += [value] if hasattr(value, "eqns") else []
      inner += [value.jaxpr] if hasattr(value, "jaxpr") else []
    if not inner:
      yield equation
    for jaxpr in inner:
      yield from equations_of(jaxpr)


@pytest.fixture
def prior():
  return make_prior


@pytest.fixture
def snail():
  return make_snail


@pytest.fixture
def stepped():
  return stepped_logits


@pytest.fixture
def forced():
  return forced_logits


@pytest.fixture
def equations():
  return equations_of
