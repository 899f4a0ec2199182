"""Losses of the score of what was taken against those of K items that were not.

BPR is `pairwise(LogitMarginLoss(), positive[:, None], negatives)`; with one negative it is
`sampled_softmax`, too.
"""

import jax
import jax.numpy as jnp

from vqlab.losses import targets as checks
from vqlab.nn.dtypes import at_least_float32


def sampled_softmax(positive: jax.Array, negatives: jax.Array) -> jax.Array:
  """-log softmax of the positive among itself and its negatives.

  Args:
    positive: float[B], logits: divided by a temperature already.
    negatives: float[B, K]; -inf is one left out.

  Returns:
    [B] in the logits' dtype, computed in float32 at least.

  Raises:
    ValueError: the shapes do not agree.
  """
  positive, negatives, dtype = _scores("sampled_softmax", positive, negatives)
  every = jnp.concatenate([positive[:, None], negatives], axis=1)
  return (jax.nn.logsumexp(every, axis=1) - positive).astype(dtype)


def cosine_contrastive(
  positive: jax.Array, negatives: jax.Array, *, margin: float, weight: float
) -> jax.Array:
  """1 - positive + weight * mean of max(0, negative - margin): SimpleX (arXiv 2109.12613).

  Negatives less alike than the margin count for nothing.

  Args:
    positive: float[B], cosines of users and what they took.
    negatives: float[B, K], cosines of users and what they did not take.
    margin: a cosine; the paper takes 0 to 1.
    weight: of the negatives.

  Returns:
    [B] in the cosines' dtype, computed in float32 at least.

  Raises:
    ValueError: the shapes do not agree.
  """
  positive, negatives, dtype = _scores("cosine_contrastive", positive, negatives)
  loss = 1 - positive + weight * jnp.mean(jax.nn.relu(negatives - margin), axis=1)
  return loss.astype(dtype)


def _scores(
  name: str, positive: jax.Array, negatives: jax.Array
) -> tuple[jax.Array, jax.Array, jnp.dtype]:
  """Both in the dtype to compute in, and that of the result."""
  positive, negatives = checks.outputs(name, positive), checks.outputs(name, negatives)
  if positive.ndim != 1 or negatives.ndim != 2 or len(positive) != len(negatives):
    raise ValueError(
      f"{name}: scores of positives {list(positive.shape)} and of negatives "
      f"{list(negatives.shape)} must be [B] and [B, K]"
    )
  dtype = jnp.result_type(positive, negatives)
  wide = at_least_float32(dtype)
  return positive.astype(wide), negatives.astype(wide), dtype
