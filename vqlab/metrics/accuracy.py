"""How often a classifier is right."""

import jax
import jax.numpy as jnp

from vqlab.metrics.sums import Total, broadcast_mask, total
from vqlab.nn.dtypes import at_least_float32


def accuracy(
  logits: jax.Array, labels: jax.Array, *, k: int = 1, mask: jax.Array | None = None
) -> Total:
  """Examples whose label is among the k largest logits; `mean` of it is the top-k accuracy.

  Of equal logits the one of the lower class is ahead, so that constant logits are right about one
  class in Y, not about all. NaN among an example's logits makes it wrong.

  Args:
    logits: [..., Y].
    labels: int[...], in [0, Y); -1 counts for nothing, and what is no class at all is never right.
    k: at least 1, at most Y (where every label is right).
    mask: bool over leading axes of labels.

  Raises:
    ValueError: the shapes do not agree, or k is out of range.
  """
  if logits.shape[:-1] != labels.shape or not jnp.issubdtype(labels.dtype, jnp.integer):
    raise ValueError(
      f"accuracy: labels must be int{list(logits.shape[:-1])} for logits {list(logits.shape)}; "
      f"found {labels.dtype}{list(labels.shape)}"
    )
  if not 1 <= k <= logits.shape[-1]:
    raise ValueError(f"accuracy: k is {k}; it must be in [1, {logits.shape[-1]}], the classes")
  counts = labels >= 0
  if mask is not None:
    counts &= broadcast_mask("accuracy", mask, labels.shape)
  chosen = jnp.where(counts, labels, 0).astype(jnp.int32)[..., None]
  # Read at a class that there is: NaN, of which nothing is ahead, would come back otherwise.
  exists = ((chosen >= 0) & (chosen < logits.shape[-1]))[..., 0]
  chosen = jnp.clip(chosen, 0, logits.shape[-1] - 1)
  own = jnp.take_along_axis(logits, chosen, axis=-1)
  classes = jnp.arange(logits.shape[-1], dtype=jnp.int32)
  ahead = (logits > own) | ((logits == own) & (classes < chosen))
  right = jnp.sum(ahead, axis=-1, dtype=jnp.int32) < k
  right &= exists & ~jnp.any(jnp.isnan(logits), axis=-1)
  return total(right.astype(at_least_float32()), mask=counts)
