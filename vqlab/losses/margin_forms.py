"""Forms of a margin loss: weighted by class, over many classes, over pairs of scores.

`2.0 * loss` is a `ScaledLoss`; `weighted` weighs the two targets; `one_vs_rest` and
`crammer_singer` lift to C classes; `pairwise` ranks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vqlab.losses import targets as checks
from vqlab.losses.margin_loss import MarginLoss, TraitsOfLoss, positive_number
from vqlab.nn.checks import integers_in_range
from vqlab.nn.dtypes import at_least_float32


@dataclass(frozen=True)
class WeightedLoss(TraitsOfLoss):
  """positive * L where the target is 1, negative * L where it is -1; see `weighted`.

  No function of the agreement (unless the weights are equal): it has no limits and no values
  without targets. `kinks` and `kinks2` are agreements; the outputs are target * kink. It is convex,
  strictly or strongly so, clipable and differentiable as a function of the output, for either
  target, where L is.

  Its errors are those of a `ScaledLoss`, and its limit: where L itself is no normal number, the
  weight comes too late.
  """

  loss: MarginLoss
  positive: float
  negative: float

  def __post_init__(self):
    for name in ("positive", "negative"):
      weight = positive_number(f"WeightedLoss: {name}", getattr(self, name))
      object.__setattr__(self, name, weight)

  def __call__(self, output: Any, target: Any, *, where: jax.Array | None = None) -> jax.Array:
    """The weighted loss of each output. Args, raises: see `MarginLoss.__call__`."""
    return self._weigh(partial(self.loss, where=where), output, target, where=where)

  def value(self, output: Any, target: Any) -> jax.Array:
    return self._weigh(self.loss.value, output, target)

  def deriv(self, output: Any, target: Any) -> jax.Array:
    """The derivative by the output."""
    return self._weigh(self.loss.deriv, output, target)

  def deriv2(self, output: Any, target: Any) -> jax.Array:
    """The second derivative by the output."""
    return self._weigh(self.loss.deriv2, output, target)

  def __mul__(self, factor: float) -> "WeightedLoss":
    factor = positive_number("WeightedLoss: factor", factor)
    return WeightedLoss(self.loss, factor * self.positive, factor * self.negative)

  __rmul__ = __mul__

  @property
  def margin_based(self) -> bool:
    """Whether the weights are equal, but for what was rounded where they were multiplied."""
    return math.isclose(self.positive, self.negative, rel_tol=2.0**-50)

  @property
  def lipschitz(self) -> float | None:
    constant = self.loss.lipschitz
    return None if constant is None else max(self.positive, self.negative) * constant

  @property
  def classification_calibrated(self) -> bool:
    """With unequal weights the sign of least risk turns at another probability than 1/2."""
    return self.margin_based and self.loss.classification_calibrated

  fisher_consistent = classification_calibrated

  def _weigh(
    self, function: Callable, output: Any, target: Any, *, where: jax.Array | None = None
  ) -> jax.Array:
    output = checks.outputs("WeightedLoss", output)
    target = checks.targets("WeightedLoss", target, output, where=where)
    wide = at_least_float32(output.dtype)
    weight = jnp.where(target > 0, self.positive, self.negative).astype(wide)
    return (weight * function(output.astype(wide), target.astype(wide))).astype(output.dtype)


def weighted(loss: MarginLoss | WeightedLoss, *, positive: float) -> WeightedLoss:
  """A loss weighted by `positive` where the target is 1 and 1 - positive where it is -1.

  Weighting again multiplies the weights.

  Raises:
    ValueError: the weight is not in (0, 1): at either end one class would not count at all.
  """
  positive = positive_number("weighted: positive", positive)
  if positive >= 1:
    raise ValueError(f"weighted: positive is {positive}; it must be in (0, 1)")
  if isinstance(loss, WeightedLoss):
    return WeightedLoss(loss.loss, positive * loss.positive, (1 - positive) * loss.negative)
  return WeightedLoss(loss, positive, 1 - positive)


def one_vs_rest(
  loss: MarginLoss | WeightedLoss,
  logits: jax.Array,
  labels: jax.Array,
  *,
  where: jax.Array | None = None,
) -> jax.Array:
  """The sum over classes of the loss with target 1 for the label and -1 for every other class.

  Args:
    logits: float[..., C].
    labels: int[...] in [0, C); while tracing they cannot be checked, and others give NaN, as a
      gradient too.
    where: bool[...]; where it is False the result and its gradient are 0, NaN included.

  Returns:
    [...] in the logits' dtype, added up in float32 at least.

  Raises:
    ValueError: shapes do not agree, or a known label is no class.
  """
  logits, labels, _ = _classes("one_vs_rest", logits, labels, where)
  classes = jnp.arange(logits.shape[-1], dtype=labels.dtype)
  targets = jnp.where(classes == labels[..., None], 1, -1).astype(jnp.int32)
  wide = logits.astype(at_least_float32(logits.dtype))
  total = jnp.sum(loss(wide, targets), axis=-1)
  return _masked(total, where).astype(logits.dtype)


def crammer_singer(
  loss: MarginLoss, logits: jax.Array, labels: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
  """The loss of the margin: the label's score minus the best of the others (JMLR 2, 2001).

  With L1HingeLoss it is max(0, 1 + best other - own). Of equal best others the first one gets the
  gradient. Classes that are out of the question have the logit -inf. A loss weighted by class has
  no margin. Args, returns, raises: see `one_vs_rest`.
  """
  logits, labels, exists = _classes("crammer_singer", logits, labels, where)
  classes = jnp.arange(logits.shape[-1], dtype=labels.dtype)
  wide = logits.astype(at_least_float32(logits.dtype))
  own = jnp.take_along_axis(wide, jnp.where(exists, labels, 0)[..., None], axis=-1)
  others = jnp.where(classes == labels[..., None], -jnp.inf, wide)
  best = jnp.take_along_axis(others, jnp.argmax(others, axis=-1, keepdims=True), axis=-1)
  return _masked(loss.value((own - best)[..., 0]), where).astype(logits.dtype)


def pairwise(loss: MarginLoss, positive: jax.Array, negative: jax.Array) -> jax.Array:
  """The loss of positive - negative, scores of what should rank above and below.

  LogitMarginLoss gives BPR, -log sigmoid(positive - negative) (Rendle et al. 2009). The difference
  is taken in float32 at least; the result has the dtype to which JAX promotes the two.

  Args:
    positive: float, as many axes as negative, or one number.
    negative: float; an axis may be 1 on one side: [B, 1] and [B, K] are K negatives for each
      positive, [N, 1] and [1, M] all pairs.

  Raises:
    ValueError: the scores have different numbers of axes.
  """
  positive, negative = jnp.asarray(positive), jnp.asarray(negative)
  if positive.ndim and negative.ndim and positive.ndim != negative.ndim:
    raise ValueError(
      f"pairwise: positive {list(positive.shape)} and negative {list(negative.shape)} must have "
      "as many axes, of equal sizes or 1"
    )
  dtype = checks.outputs("pairwise", jnp.zeros((), jnp.result_type(positive, negative))).dtype
  wide = at_least_float32(dtype)
  return loss.value(positive.astype(wide) - negative.astype(wide)).astype(dtype)


def _classes(
  name: str, logits: jax.Array, labels: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Logits and labels without what is masked, and where labels are classes: elsewhere NaN."""
  given, logits, labels = labels, checks.outputs(name, logits), jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer) or logits.shape[:-1] != labels.shape:
    raise ValueError(
      f"{name}: labels must be int{list(logits.shape[:-1])} for logits {list(logits.shape)}; "
      f"found {labels.dtype}{list(labels.shape)}"
    )
  if where is not None:
    checks.mask(name, where, labels.shape)
    logits = jnp.where(where[..., None], logits, 0)
    labels = jnp.where(where, labels, 0)
  # As they were given: 2^32 of int64 is 0 in the int32 that JAX makes of it.
  kept = True if where is None else where
  integers_in_range(f"{name}: labels", given, logits.shape[-1], where=kept)
  if labels.dtype.itemsize < 4:
    labels = labels.astype(jnp.int32)  # which holds C
  exists = (labels >= 0) & (labels < logits.shape[-1])
  # A product, so that gradients are NaN as well.
  poison = jnp.where(exists, 1, jnp.nan).astype(logits.dtype)
  return logits * poison[..., None], labels, exists


def _masked(values: jax.Array, where: jax.Array | None) -> jax.Array:
  return values if where is None else jnp.where(where, values, 0)
