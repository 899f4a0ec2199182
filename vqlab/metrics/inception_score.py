"""Inception Score (Salimans et al. 2016, arXiv 1606.03498).

    IS = exp( E_x KL( p(y | x) || p(y) ) ),      p(y) = E_x p(y | x)

Because KL splits into two entropies, sums over examples are all it takes:

    log IS = E_x sum_y p(y|x) log p(y|x)  -  sum_y p(y) log p(y)

The published figures are the mean and the deviation over 10 splits of 50,000 samples, with
Inception's 1008 logits without their bias (`vqlab.features.InceptionV3`, `logits_unbiased`; what
torch-fidelity takes). The score of a split depends on its size, so keep to theirs to compare.

Shapes: B batch, Y classes, S splits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vqlab.metrics.sums import broadcast_mask
from vqlab.nn import checks
from vqlab.nn.dtypes import at_least_float32


class ClassSums(NamedTuple):
  """Sums over the examples of each split."""

  count: jax.Array  # f32[S]     examples
  negentropy: jax.Array  # f32[S]     of sum_y p(y|x) log p(y|x)
  probabilities: jax.Array  # f32[S, Y]  of p(y|x)


class InceptionScore(NamedTuple):
  """Over the splits that hold an example; NaN where none does."""

  mean: jax.Array  # f32[]
  std: jax.Array  # f32[]  divided by S, not S - 1, as published figures are; 0 for one split


def class_sums(
  logits: jax.Array,
  *,
  split: jax.Array | None = None,
  num_splits: int = 1,
  mask: jax.Array | None = None,
) -> ClassSums:
  """The sums of a batch; those of several batches and devices add up.

  Args:
    logits: [B, Y], unnormalized; probabilities go in as their logarithms.
    split: int[B], which split each example belongs to: of N samples in random order, example i to
      `i % S`, or to `i * S // N` for splits one after the other. What is not in [0, S) counts for
      nothing. All to split 0 where None.
    num_splits: S.
    mask: bool[B]; rows where it is False count for nothing, NaN included.

  Raises:
    ValueError: the shapes do not agree, num_splits is below 1, or there are several splits and
      `split` is missing.
  """
  checks.whole_number("class_sums: num_splits", num_splits, least=1)
  if logits.ndim != 2:
    raise ValueError(f"class_sums: logits must be [B, Y]; found {logits.shape}")
  if split is None:
    if num_splits != 1:
      raise ValueError(f"class_sums: {num_splits} splits need `split`, the split of each example")
    split = jnp.zeros(logits.shape[:1], jnp.int32)
  if split.shape != logits.shape[:1] or not jnp.issubdtype(split.dtype, jnp.integer):
    raise ValueError(
      f"class_sums: split must be int[{logits.shape[0]}]; found {split.dtype}{list(split.shape)}"
    )
  split = split.astype(jnp.int32)
  counts = (split >= 0) & (split < num_splits)
  if mask is not None:
    counts &= broadcast_mask("class_sums", mask, split.shape)
  logits = jnp.where(counts[:, None], logits.astype(at_least_float32(logits.dtype)), 0)
  log_p = jax.nn.log_softmax(logits)
  p = jnp.exp(log_p)
  negentropy = jnp.sum(jnp.where(p > 0, p * log_p, 0), axis=-1)
  # A NaN in the logits is a NaN in the score: where() above must not hide it.
  negentropy = jnp.where(jnp.any(jnp.isnan(p), axis=-1), jnp.nan, negentropy)
  where = jnp.where(counts, split, num_splits)  # out of bounds, so dropped
  add = lambda x: jnp.zeros((num_splits, *x.shape[1:]), x.dtype).at[where].add(x, mode="drop")
  return ClassSums(add(jnp.ones_like(negentropy)), add(negentropy), add(p))


def inception_score(sums: ClassSums) -> InceptionScore:
  """The score of every split's examples, its mean and its deviation over the splits."""
  count, negentropy, probabilities = (jnp.asarray(x) for x in sums)
  held = count > 0
  n = jnp.where(held, count, 1)
  p = probabilities / n[:, None]
  positive = p > 0
  marginal = jnp.sum(jnp.where(positive, p * jnp.log(jnp.where(positive, p, 1)), 0), axis=-1)
  scores = jnp.exp(negentropy / n - marginal)
  splits = jnp.sum(held.astype(scores.dtype))
  mean = jnp.sum(jnp.where(held, scores, 0)) / splits
  variance = jnp.sum(jnp.where(held, jnp.square(scores - mean), 0)) / splits
  return InceptionScore(mean, jnp.sqrt(variance))
