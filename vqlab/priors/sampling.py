"""Ancestral sampling from any prior with the cache protocol, and exact log-likelihoods.

The code of sample i at position p is

    argmax_k  filtered_logits[k] / temperature + gumbel(fold_in(fold_in(key, i), p))[k],

a draw from the softmax whose noise is a function of the key, i and p alone. So the codes depend
neither on the method nor on the batch they were drawn in, but for rounding of the logits: where two
scores tie to within it, either code may win. It is the rounding of the products, which accelerators
do in fewer bits unless `jax.default_matmul_precision` tells them otherwise.

The draw is exact but for probabilities of about 1e-6 and below: float32's uniform numbers, which
the noise is made of, are no finer (`jax.random.gumbel(mode="high")` is, and costs more).
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import inf, prod
from numbers import Integral
from operator import index as whole
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike

from vqlab.metrics.likelihood import log_likelihood
from vqlab.nn import checks
from vqlab.nn.varying import vary_like
from vqlab.priors import drawing

PyTree = Any


def sample(
  key: jax.Array,
  model: nn.Module,
  params: dict,
  shape: tuple[int, ...],
  *,
  cond: PyTree = None,
  given: tuple[ArrayLike, ArrayLike] | None = None,
  temperature: ArrayLike = 1.0,
  top_k: int | None = None,
  top_p: ArrayLike | None = None,
  method: str = "cached",
  first_index: ArrayLike = 0,
  with_log_probs: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
  """Draws codes from a prior, in raster order, in one compiled loop.

  Works under `jit` and `vmap` (of the key, params, cond, given, temperature, top_p). The compiled
  loop is kept by (model, shape, top_k, method, with_log_probs): later calls with other values of
  the rest do not recompile.

  Args:
    key: a random key.
    model: a prior with the cache protocol of `vqlab.priors`.
    params: its collection `params`.
    shape: of the codes: (B, H, W), (B, H, W, G) or (B, T); of videos (B, T, H, W).
    cond: what the model is conditioned on.
    given: for in-painting, (codes, mask) of `shape` each: where the boolean mask is True the code
      is copied, elsewhere it is drawn in raster order (so from the given codes before it) and may
      be given as anything, such as -1. Frames that are given to the whole batch are not gone
      through, unless their probabilities are asked for.
    temperature: divides the logits; 0 takes the most probable code at every position (a traced
      temperature must be positive: it cannot be looked at).
    top_k: draws from the k most probable codes only; of equal codes the lowest come first.
    top_p: draws from the smallest set of most probable codes with a mass of at least p, after
      temperature and top_k; at least one. Of equal codes the lowest come first.
    method: "cached" does the work of one position a step; "naive" runs the model on the whole map
      for every position and needs only its `logits`. The codes are the same.
    first_index: index i of the first sample, whole and at least 0: n samples drawn from 0 and m
      drawn from n are the n + m samples that one call would draw.
    with_log_probs: also returns what `log_prob(per_position=True)` gives of the codes, which costs
      next to nothing here: the model's own probabilities, whatever the temperature and the filters
      they were drawn with, of given codes as well.

  Returns:
    int32 codes of `shape`; with_log_probs: (codes, f32 nats of `shape`).

  Raises:
    ValueError: an argument is out of range (codes and labels as far as they are known: not under
      `jit`), or has the wrong shape or type.
  """
  _check_model("sample(key, model, params, ...)", model)
  shape = tuple(whole(size) for size in shape)
  if len(shape) < 2 or min(shape) < 1:
    expected = "[B, T], [B, H, W], [B, H, W, G], or [B, T, H, W] of videos"
    raise ValueError(f"shape is {shape}; it must be {expected}, all >= 1")
  if method not in ("cached", "naive"):
    raise ValueError(f"method is {method!r}; it must be 'cached' or 'naive'")
  temperature, top_k, top_p, greedy = _checked_options(temperature, top_k, top_p)
  if given is not None:
    given = _check_given(given, shape)
    codes, mask = given
    checks.integers_in_range("given codes", codes, getattr(model, "num_codes", None), where=mask)
  _check_index(first_index)
  _check_cond(model, cond)
  codes, log_probs = _sample(
    model, shape, method, greedy, top_k, with_log_probs,
    key, params, cond, given, temperature, top_p, first_index,
  )  # fmt: skip
  return (codes, log_probs) if with_log_probs else codes


def stream(
  key: jax.Array,
  model: nn.Module,
  params: dict,
  shape: tuple[int, int],
  *,
  chunk: int,
  cond: PyTree = None,
  temperature: ArrayLike = 1.0,
  top_k: int | None = None,
  top_p: ArrayLike | None = None,
  first_index: ArrayLike = 0,
) -> Iterator[jax.Array]:
  """Draws sequences a chunk at a time: together the codes that `sample` draws at once.

      for codes in stream(key, model, params, (1, 16000), chunk=1600, cond=cond):
        play(codes)

  Args:
    shape: (B, T) of the whole sequences.
    chunk: codes to draw at a time; the last chunk may be shorter.
    key, model, params, cond, temperature, top_k, top_p, first_index: see `sample`.

  Returns:
    An iterator of int32[B, chunk].

  Raises:
    ValueError: as `sample`.
  """
  _check_model("stream(key, model, params, ...)", model)
  shape = tuple(whole(size) for size in shape)
  if len(shape) != 2 or min(shape) < 1:
    raise ValueError(f"shape is {shape}; it must be [B, T], both >= 1")
  checks.whole_number("chunk", chunk, least=1)
  temperature, top_k, top_p, greedy = _checked_options(temperature, top_k, top_p)
  _check_index(first_index)
  _check_cond(model, cond)

  def chunks(state: PyTree) -> Iterator[jax.Array]:
    for start in range(0, shape[1], chunk):
      stop = min(start + chunk, shape[1])
      state = _advance(
        model, greedy, top_k, state, key, params, temperature, top_p, first_index, start, stop
      )
      yield state[1][:, 0, start:stop]

  return chunks(_begin(model, shape, params, cond))


@partial(jax.jit, static_argnums=(0, 1))
def _begin(model: nn.Module, shape: tuple[int, int], params: dict, cond: PyTree) -> PyTree:
  """The cache, and the codes int32[B, 1, T] that are not drawn yet."""
  cache = model.apply({"params": params}, shape, cond, method="init_cache")
  return cache, jnp.zeros((shape[0], 1, shape[1]), jnp.int32)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _advance(
  model: nn.Module,
  greedy: bool,
  top_k: int | None,
  state: PyTree,
  key: jax.Array,
  params: dict,
  temperature: jax.Array,
  top_p: jax.Array | None,
  first_index: jax.Array,
  start: jax.Array,
  stop: jax.Array,
) -> PyTree:
  """The positions from start to stop of the one row."""
  keys, row = drawing.keys_of(key, len(state[1]), first_index), jnp.int32(0)

  def one(index: jax.Array, state: PyTree) -> PyTree:
    cache, codes = state
    cache, logits = model.apply({"params": params}, cache, codes[:, 0], row, index, method="step")
    codes, _ = drawing.put(
      (codes, None), logits, row, index, keys=keys, mask=None, greedy=greedy,
      temperature=temperature, top_k=top_k, top_p=top_p,
    )  # fmt: skip
    return cache, codes

  return drawing.loop(start, stop, one, state)


def log_prob(
  model: nn.Module,
  params: dict,
  codes: jax.Array,
  *,
  cond: PyTree = None,
  per_position: bool = False,
) -> jax.Array:
  """Log-likelihoods in nats of codes [B, ...]: [B], summed over positions, in float32 or more.

  Args:
    model, params, cond: see `sample`.
    codes: int[B, ...], in [0, K); NaN comes of others under `jit`, where they can't be looked at.
    per_position: of every code, given those before it: [B, ...].

  Raises:
    ValueError: codes or labels are out of range (as far as they are known).
  """
  _check_model("log_prob(model, params, codes)", model)
  checks.integers_in_range("codes", codes, getattr(model, "num_codes", None))
  _check_cond(model, cond)
  log_probs = _log_prob(model, params, jnp.asarray(codes), cond)
  return log_probs if per_position else log_probs.reshape(len(codes), -1).sum(1)


@partial(jax.jit, static_argnums=0)
def _log_prob(model: nn.Module, params: dict, codes: jax.Array, cond: PyTree) -> jax.Array:
  return log_likelihood(model.apply({"params": params}, codes, cond, method="logits"), codes)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _sample(
  model: nn.Module,
  shape: tuple[int, ...],
  method: str,
  greedy: bool,
  top_k: int | None,
  with_log_probs: bool,
  key: jax.Array,
  params: dict,
  cond: PyTree,
  given: tuple[jax.Array, jax.Array] | None,
  temperature: jax.Array,
  top_p: jax.Array | None,
  first_index: jax.Array,
) -> tuple[jax.Array, jax.Array | None]:
  is_video, batch = hasattr(model, "begin_frame"), shape[0]
  frames = shape[1] if is_video else 1
  rows = prod(shape[1:-1] if is_video else shape[1:-1][:1])  # a sequence is one row
  codes = jnp.zeros((batch, rows, prod(shape[1:]) // rows), jnp.int32)
  mask = None
  if given is not None:
    mask = given[1].reshape(codes.shape)
    codes = jnp.where(mask, given[0].reshape(codes.shape), codes)
  keys = drawing.keys_of(key, batch, first_index)

  def apply(function: str, *args: object) -> jax.Array:
    return model.apply({"params": params}, *args, method=function)

  log_probs = None
  if with_log_probs:
    logits = jax.eval_shape(partial(apply, "logits"), codes.reshape(shape), cond)
    log_probs = jnp.zeros(codes.shape, logits.dtype)

  put = partial(
    drawing.put, keys=keys, mask=mask, greedy=greedy,
    temperature=temperature, top_k=top_k, top_p=top_p,
  )  # fmt: skip

  def cached_step(row: jax.Array, index: jax.Array, carry: tuple) -> tuple:
    cache, maps = carry
    cache, logits = apply("step", cache, maps[0].reshape(shape), row, index)
    return cache, put(maps, logits, row, index)

  def cached_row(row: jax.Array, carry: tuple) -> tuple:
    cache, maps = carry
    cache = apply("begin_row", cache, maps[0].reshape(shape), row)
    return drawing.loop(0, codes.shape[2], partial(cached_step, row), (cache, maps))

  def cached_frame(frame: jax.Array, carry: tuple) -> tuple:
    cache, maps = carry
    cache = apply("begin_frame", cache, maps[0].reshape(shape), frame)
    start = frame * (rows // frames)
    draw = lambda carry: drawing.loop(start, start + rows // frames, cached_row, carry)
    if mask is None or with_log_probs:
      return draw((cache, maps))
    known = jax.lax.dynamic_slice_in_dim(mask, start, rows // frames, axis=1).all()
    return jax.lax.cond(known, lambda carry: carry, draw, (cache, maps))

  def naive_step(position: jax.Array, maps: tuple) -> tuple:
    logits = apply("logits", maps[0].reshape(shape), cond)
    logits = logits.reshape(batch, -1, logits.shape[-1])
    logits = jax.lax.dynamic_index_in_dim(logits, position, axis=1, keepdims=False)
    return put(maps, logits, *jnp.divmod(position, jnp.int32(codes.shape[2])))

  vary = partial(vary_like, (keys, params, cond, given, temperature, top_p))
  maps = (codes, log_probs)
  if method == "naive":
    maps = drawing.loop(0, rows * codes.shape[2], naive_step, vary(maps))
  else:
    carry = vary((apply("init_cache", shape, cond), maps))
    count, body = (frames, cached_frame) if is_video else (rows, cached_row)
    _, maps = drawing.loop(0, count, body, carry)
  return jax.tree.map(lambda x: x.reshape(shape), maps)


def _checked_options(
  temperature: ArrayLike, top_k: int | None, top_p: ArrayLike | None
) -> tuple[ArrayLike, int | None, ArrayLike | None, bool]:
  """Temperature, top_k, top_p, and whether it is always the most probable code that is taken.

  Filters that do nothing are left out of the program, and so is the noise of a greedy draw.
  """
  if top_k is not None and (not isinstance(top_k, Integral) or top_k < 1):
    raise ValueError(f"top_k is {top_k!r}; it must be a whole number of at least 1, or None")
  temperature = _number("temperature", temperature, lambda t: 0 <= t < inf, "finite and >= 0")
  if top_p is not None:
    top_p = _number("top_p", top_p, lambda p: 0 < p <= 1, "in (0, 1], or None")
  if isinstance(temperature, float) and temperature == 0:
    return 1.0, None, None, True
  return temperature, top_k, None if isinstance(top_p, float) and top_p == 1 else top_p, False


def _number(
  name: str, value: ArrayLike, valid: Callable[[float], bool], expected: str
) -> float | jax.Array:
  """The value as a float; one that is being traced is passed on, since nothing is known of it."""
  if jnp.ndim(value) != 0:
    raise ValueError(f"{name} has shape {list(jnp.shape(value))}; it must be one number")
  if isinstance(value, jax.core.Tracer):
    return value
  if not valid(float(value)):
    raise ValueError(f"{name} is {value}; it must be {expected}")
  return float(value)


def _check_model(call: str, model: Any) -> None:
  if not isinstance(model, nn.Module):
    raise ValueError(f"{call}: the model is a {type(model).__name__}; it must be a Linen module")


def _check_cond(model: nn.Module, cond: PyTree) -> None:
  """Checks the ranges that the model tells, or that of labels where it tells none."""
  if hasattr(model, "cond_ranges"):
    ranges = model.cond_ranges(cond)
  else:
    ranges = [("cond", getattr(cond, "labels", cond), getattr(model, "num_classes", None))]
  for name, values, size in ranges:
    checks.integers_in_range(name, values, size)


def _check_index(first_index: ArrayLike) -> None:
  """Its type as far as it can be seen, its value as far as it is known."""
  if jnp.ndim(first_index) or not jnp.issubdtype(jnp.result_type(first_index), jnp.integer):
    found = checks.known(first_index)
    found = f"a traced {jnp.result_type(first_index)}" if found is None else found
    raise ValueError(f"first_index is {found}; it must be one whole number")
  found = checks.known(first_index)
  if found is not None and found < 0:
    raise ValueError(f"first_index is {found}; it must be at least 0")


def _check_given(
  given: tuple[ArrayLike, ArrayLike], shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
  if not isinstance(given, tuple | list) or len(given) != 2:
    raise ValueError(f"given is a {type(given).__name__}; it must be a pair (codes, mask)")
  codes, mask = (jnp.asarray(x) for x in given)
  for name, x in (("codes", codes), ("mask", mask)):
    if x.shape != shape:
      raise ValueError(f"given {name} have shape {list(x.shape)}; it must be {list(shape)}")
  if not jnp.issubdtype(codes.dtype, jnp.integer):
    raise ValueError(f"given codes are {codes.dtype}; they must be integers")
  if mask.dtype != jnp.bool_:
    raise ValueError(f"the given mask is {mask.dtype}; it must be boolean (True: copy the code)")
  return codes.astype(jnp.int32), mask
