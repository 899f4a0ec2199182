"""InfoNCE: which of many keys belongs to a query (van den Oord et al. 2018, arXiv 1807.03748).

    loss = -log( exp(q.k+ / t) / sum over k+ and all negatives k of exp(q.k / t) )

Vectors are taken as they are: normalise them for cosines. Letters: B queries, K negatives, N keys,
D dimensions.
"""

from numbers import Real

import jax
import jax.numpy as jnp
from jax import lax

from vqlab.losses import targets
from vqlab.nn import checks
from vqlab.nn.dtypes import at_least_float32


def info_nce(
  query: jax.Array,
  positive: jax.Array,
  negatives: jax.Array,
  *,
  temperature: float | jax.Array,
  where: jax.Array | None = None,
) -> jax.Array:
  """The loss of each query with a key of its own and negatives that all share, a queue's say.

  Args:
    query: float[B, D].
    positive: float[B, D], each query's key.
    negatives: float[K, D].
    temperature: what products are divided by; positive.
    where: bool[B, K], whether a negative is one of a query: False leaves out what is another key
      of the same thing.

  Returns:
    f32[B], float64 of doubles.

  Raises:
    ValueError: the shapes do not agree, or the temperature is not positive.
  """
  (query, positive, negatives), temperature = _wide(
    "info_nce", (query, positive, negatives), temperature
  )
  if positive.shape != query.shape:
    raise ValueError(
      f"info_nce: queries {list(query.shape)} and positives {list(positive.shape)} must have one "
      "shape"
    )
  own = jnp.sum(query * positive, axis=1) / temperature
  others = _products(query, negatives) / temperature
  if where is not None:
    targets.mask("info_nce", where, others.shape)
    others = jnp.where(where, others, -jnp.inf)
  return jax.nn.logsumexp(jnp.concatenate([own[:, None], others], axis=1), axis=1) - own


def in_batch_info_nce(
  query: jax.Array,
  key: jax.Array,
  *,
  temperature: float | jax.Array,
  positive: jax.Array | None = None,
  where: jax.Array | None = None,
) -> jax.Array:
  """The loss of each query whose negatives are the keys of the others.

  Over devices, gather the keys (`lax.all_gather(..., tiled=True)`) and let `positive` say which of
  all are the queries' own.

  Args:
    query: float[B, D].
    key: float[N, D].
    temperature: what products are divided by; positive.
    positive: int[B] in [0, N), each query's key; None: key i is that of query i.
    where: bool[B, N], whether a key is a negative of a query; each query's own counts anyway.

  Returns:
    f32[B], float64 of doubles.

  Raises:
    ValueError: the shapes do not agree, a known index is out of range, or the temperature is not
      positive.
  """
  (query, key), temperature = _wide("in_batch_info_nce", (query, key), temperature)
  if positive is None:
    if len(key) < len(query):
      raise ValueError(f"in_batch_info_nce: {len(query)} queries have only {len(key)} keys")
    positive = jnp.arange(len(query), dtype=jnp.int32)
  given, positive = positive, jnp.asarray(positive)
  if positive.shape != query.shape[:1] or not jnp.issubdtype(positive.dtype, jnp.integer):
    found = f"{positive.dtype}{list(positive.shape)}"
    raise ValueError(f"in_batch_info_nce: positive must be int[{len(query)}]; found {found}")
  checks.integers_in_range("in_batch_info_nce: indices of positives", given, len(key))
  logits = _products(query, key) / temperature
  own = jnp.take_along_axis(logits, positive[:, None], axis=1)
  if where is not None:
    targets.mask("in_batch_info_nce", where, logits.shape)
    places = jnp.arange(len(key), dtype=positive.dtype)
    logits = jnp.where(where | (places == positive[:, None]), logits, -jnp.inf)
  return jax.nn.logsumexp(logits, axis=1) - own[:, 0]


def _products(query: jax.Array, key: jax.Array) -> jax.Array:
  """All of them, [B, N], in float32 where a platform would take fewer bits of it."""
  return jnp.matmul(query, key.T, precision=lax.Precision.HIGHEST)


def _wide(
  name: str, vectors: tuple[jax.Array, ...], temperature: float | jax.Array
) -> tuple[list[jax.Array], jax.Array]:
  vectors = [targets.outputs(name, x) for x in vectors]
  shapes = [list(x.shape) for x in vectors]
  if any(x.ndim != 2 or x.shape[1] != vectors[0].shape[1] for x in vectors):
    raise ValueError(f"{name}: vectors must be rows of one length; found {shapes}")
  if isinstance(temperature, Real) and not temperature > 0:
    raise ValueError(f"{name}: temperature is {temperature}; it must be positive")
  wide = at_least_float32(*(x.dtype for x in vectors))
  return [x.astype(wide) for x in vectors], jnp.asarray(temperature).astype(wide)
