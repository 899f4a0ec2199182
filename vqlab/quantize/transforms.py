"""Codebook transforms: pure functions (CodebookState, AssignmentStats, key) -> CodebookState.

`chain` composes them as optax composes gradient transforms:

    update = chain(ema(0.99), revive(threshold=0.01))
    state = update(state, stats, key)

A batch with no valid vector leaves every state as it was. The statistics are those of the old
codebook's assignment, and every device computes the same from them.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from vqlab.nn.checks import known
from vqlab.quantize.codebook import AssignmentStats, CodebookState

# (state, stats, key=None) -> state; a link that draws needs the key
Transform = Callable[..., CodebookState]
# A number, traced or not, or a schedule as optax's: step i32[] from 0 -> a number
Decay = jax.typing.ArrayLike | Callable[[jax.Array], jax.typing.ArrayLike]


def chain(*transforms: Transform) -> Transform:
  """One transform that applies the given ones in order, each with a key of its own.

  The result is called as `update(state, stats, key=None)`; a link that draws needs the key.
  """

  def update(
    state: CodebookState, stats: AssignmentStats, key: jax.Array | None = None
  ) -> CodebookState:
    for i, transform in enumerate(transforms):
      state = transform(state, stats, None if key is None else jax.random.fold_in(key, i))
    return state

  return update


def ema(
  decay: Decay, *, epsilon: float = 1e-5, unused: Literal["keep", "zero"] = "keep"
) -> Transform:
  """Moves every code to the discounted mean of the vectors assigned to it.

  Source: appendix A.1 of VQ-VAE (arXiv 1711.00937) in the form of Sonnet's and Haiku's
  VectorQuantizerEMA. With n, m the batch's counts and sums, t the step, zero-debiased:

      counts <- decay counts + (1 - decay) n,      N = counts / (1 - decay^t)
      sums   <- decay sums   + (1 - decay) m,      S = sums   / (1 - decay^t)
      code_k <- S_k / N'_k,   N'_k = (N_k + epsilon) / (sum N + K epsilon) sum N

  The smoothed N' is not stored.

  Args:
    decay: in [0, 1); the paper's is 0.99. Traced, or a schedule of the step, it may change; decay^t
      is then of its value at the time, which only the smoothing sees.
    epsilon: the Laplace smoothing.
    unused: what becomes of a code that was never used, or not for so long that its count N_k is at
      most 100 epsilon, where the smoothing begins to draw it to the origin: it stays where it is
      ("keep"), or goes to the origin as in Sonnet and Haiku ("zero").

  Raises:
    ValueError: a value outside its range, as far as it is known.
  """
  value = None if callable(decay) else known(decay)
  if value is not None and not 0 <= value < 1:
    raise ValueError(f"ema: decay is {decay}; it must be in [0, 1)")
  if not epsilon > 0:
    raise ValueError(f"ema: epsilon is {epsilon}; it must be positive")
  if unused not in ("keep", "zero"):
    raise ValueError(f"ema: unused is {unused!r}; it must be 'keep' or 'zero'")

  def update(
    state: CodebookState, stats: AssignmentStats, key: jax.Array | None = None
  ) -> CodebookState:
    del key
    _check(state, stats)
    dtype = state.counts.dtype
    step = state.step + 1
    now = decay(state.step) if callable(decay) else decay
    # 1 - decay first: in float32 a decay of 1 - 1e-8 is 1.
    keep, rate = (jnp.asarray(x).astype(dtype) for x in (now, 1 - now))
    counts = keep * state.counts + rate * stats.counts.astype(dtype)
    sums = keep * state.sums + rate * stats.sums.astype(dtype)
    debias = -jnp.expm1(step.astype(dtype) * jnp.log1p(-rate))
    n, s = counts / debias, sums / debias
    total = jnp.sum(n)
    smoothed = (n + epsilon) / (total + n.shape[0] * epsilon) * total
    codebook = (s / jnp.where(total > 0, smoothed, 1)[:, None]).astype(state.codebook.dtype)
    if unused == "keep":
      stays = (n == 0) | ((stats.counts == 0) & (n <= 100 * epsilon))
      codebook = jnp.where(stays[:, None], state.codebook, codebook)
    new = CodebookState(codebook, counts, sums, step)
    return _unless_empty(stats, new, state)

  return update


def revive(threshold: float) -> Transform:
  """Puts codes that have fallen out of use where vectors are.

  A code is dead when its discounted count is below `threshold` times the mean count. Dead codes,
  in order, take the batch's candidates, in random order; where the candidates run out the rest
  wait for the next batch. A revived code starts with the mean count (and the sums that put it at
  its candidate), which gives it about log(threshold) / log(decay) batches to prove itself.

  Needs `assignment_stats(..., key=key, num_candidates=M)` and a key.

  Args:
    threshold: in (0, 1].
  """
  if not 0 < threshold <= 1:
    raise ValueError(f"revive: threshold is {threshold}; it must be in (0, 1]")

  def update(
    state: CodebookState, stats: AssignmentStats, key: jax.Array | None = None
  ) -> CodebookState:
    _check(state, stats)
    num = stats.candidates.shape[0]
    if key is None or num == 0:
      missing = "update(..., key)" if key is None else "assignment_stats(num_candidates=...)"
      raise ValueError(f"revive: needs a key and candidates; missing: {missing}")
    mean = jnp.mean(state.counts)
    dead = state.counts < threshold * mean
    order = jnp.cumsum(dead, dtype=jnp.int32) - 1
    dead = dead & (order < num)
    shuffled = jax.random.permutation(key, num)
    candidate = stats.candidates[shuffled[jnp.clip(order, 0, num - 1)]]
    candidate = candidate.astype(state.codebook.dtype)
    new = state._replace(
      codebook=jnp.where(dead[:, None], candidate, state.codebook),
      counts=jnp.where(dead, mean, state.counts),
      sums=jnp.where(dead[:, None], mean * candidate.astype(mean.dtype), state.sums),
    )
    return _unless_empty(stats, new, state)

  return update


def _unless_empty(stats: AssignmentStats, new: CodebookState, old: CodebookState) -> CodebookState:
  some = jnp.sum(stats.counts) > 0
  return jax.tree.map(lambda a, b: jnp.where(some, a, b), new, old)


def _check(state: CodebookState, stats: AssignmentStats) -> None:
  if state.sums.shape != stats.sums.shape or state.counts.shape != stats.counts.shape:
    raise ValueError(
      f"the statistics are of a codebook {stats.sums.shape}; the state's is {state.codebook.shape}"
    )
