"""The training step, from a loss: gradients, parts, clipping, averages, what crosses devices.

A task gives

    loss(params, rest, context, batch, key, *, axis_name) -> (Total, (rest, {name: Total}))

the loss of this device's examples as a sum and a count, whatever else changes (batch statistics),
and what is measured. `step_of` differentiates the mean over all devices. A Total and not a share of
the mean: parts of a batch, whose counts may differ, then add up to what the whole batch gives.

What is to be updated once a step from all its examples (codebooks, a queue of keys) goes through
`update`: in place of `rest` the loss then gives a pytree whose leaves have the examples' axis, and

    update(rest, those of the whole batch, key, *, axis_name) -> (rest, {name: scalar})

`key` is the step's own; draws are keyed by it and by batch["index"], so that they do not depend on
devices or parts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from train.config import TrainingStage
from vqlab import metrics
from vqlab.metrics import Total


class State(NamedTuple):
  """What training changes."""

  step: jax.Array  # i32[]
  params: Any
  opt_state: Any
  rest: Any = ()  # batch statistics, codebooks, ...: what no gradient moves


class Learned(NamedTuple):
  """What training ends with."""

  params: Any  # or their average
  rest: Any


class Average(NamedTuple):
  """A running average of the parameters, as a state of the optimizer."""

  count: jax.Array  # i32[]
  params: Any


def optimizer_of(
  stage: TrainingStage, *, frozen: Any = None, rate: optax.Schedule | None = None
) -> optax.GradientTransformation:
  """A stage's optimizer with the clipping before it and the average after it.

  Args:
    frozen: a tree as the parameters', of bools: those that stay as they are.
    rate: what the learning rate is multiplied by at a step.
  """
  optimizer = stage.optimizer.make(stage.steps)
  if rate:
    optimizer = optax.chain(optimizer, optax.scale_by_schedule(rate))
  if frozen is not None:
    optimizer = optax.transforms.selective_transform(optimizer, freeze_mask=frozen)
  if stage.optimizer.clip_norm:
    optimizer = optax.chain(optax.clip_by_global_norm(stage.optimizer.clip_norm), optimizer)
  return optax.chain(optimizer, average(stage.average)) if stage.average else optimizer


def average(decay: float) -> optax.GradientTransformation:
  """Follows the parameters that the updates given lead to; changes no update.

  The decay is (1 + t) / (10 + t) at step t until that is larger, as TensorFlow has it: otherwise
  the average would be of the initial parameters for about 1 / (1 - decay) steps.
  """

  def update(updates: Any, state: Average, params: Any) -> tuple[Any, Average]:
    count = state.count.astype(jnp.float32)
    kept = jnp.minimum(decay, (1 + count) / (10 + count))
    new = optax.apply_updates(params, updates)
    mixed = jax.tree.map(
      lambda a, p: kept.astype(p.dtype) * a + (1 - kept).astype(p.dtype) * p, state.params, new
    )
    return updates, Average(state.count + 1, mixed)

  return optax.GradientTransformation(
    lambda params: Average(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params)), update
  )


def learned(state: State, context: Any = ()) -> Learned:
  """The parameters, or their average where there is one, and the rest."""
  is_average = lambda x: isinstance(x, Average)
  found = [x for x in jax.tree.leaves(state.opt_state, is_leaf=is_average) if is_average(x)]
  return Learned(found[0].params if found else state.params, state.rest)


def initial(optimizer: optax.GradientTransformation, params: Any, rest: Any = ()) -> State:
  """The state before the first step."""
  return State(jnp.zeros((), jnp.int32), params, optimizer.init(params), rest)


def step_of(
  loss: Callable[..., tuple[Total, tuple[Any, dict[str, Total]]]],
  optimizer: optax.GradientTransformation,
  *,
  update: Callable[..., tuple[Any, dict[str, jax.Array]]] | None = None,
  accumulate: int = 1,
) -> Callable[..., tuple[State, dict[str, jax.Array]]]:
  """The step (state, context, batch, key, *, axis_name=None) -> (state, metrics) of a loss.

  Args:
    loss, update: see the top of this file.
    optimizer: as `optimizer_of` makes it.
    accumulate: parts that a batch is cut into. Part i has the rows r with r % accumulate = i, so
      that each device has its share of every part; what is in `rest` goes from part to part.
  """

  def gradients(params, rest, context, batch, key, axis_name):
    def share(params):
      total, (rest_, totals) = loss(params, rest, context, batch, key, axis_name=axis_name)
      count = metrics.across(total.count, axis_name)
      return total.sum / _unless_zero(count), (count, rest_, totals)

    (value, (count, rest, totals)), grads = jax.value_and_grad(share, has_aux=True)(params)
    value, totals, grads = metrics.across((value, totals, grads), axis_name)
    return count, rest, {"loss": value, "grads": grads}, totals

  def in_parts(params, rest, context, batch, key, axis_name):
    """As `gradients` of the whole batch, a part at a time."""
    cut = lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0)
    rows = {len(x) for x in jax.tree.leaves(batch)}
    if any(n % accumulate for n in rows):
      raise ValueError(f"accumulate is {accumulate}, which does not divide {max(rows)} examples")

    def part(rest, batch):
      count, new, means, totals = gradients(params, rest, context, batch, key, axis_name)
      given = (count, means, totals)
      return (rest, (*given, new)) if update else (new, (*given, ()))

    rest, (counts, means, totals, given) = jax.lax.scan(part, rest, jax.tree.map(cut, batch))
    count = jnp.sum(counts)
    weigh = lambda x: jnp.tensordot((counts / _unless_zero(count)).astype(x.dtype), x, 1)
    whole = lambda x: jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])
    rest = jax.tree.map(whole, given) if update else rest
    return count, rest, jax.tree.map(weigh, means), jax.tree.map(lambda x: jnp.sum(x, 0), totals)

  def step(state: State, context: Any, batch: Any, key: jax.Array, *, axis_name=None):
    key = jax.random.fold_in(key, state.step)
    of = gradients if accumulate == 1 else in_parts
    _, rest, means, totals = of(state.params, state.rest, context, batch, key, axis_name)
    updates, opt_state = optimizer.update(means["grads"], state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    figures = {"loss": means["loss"], **{k: metrics.mean(total) for k, total in totals.items()}}
    if update:
      rest, more = update(state.rest, rest, key, axis_name=axis_name)
      figures |= more
    figures["grad_norm"] = optax.tree.norm(means["grads"])
    return State(state.step + 1, params, opt_state, rest), figures

  return step


def _unless_zero(count: jax.Array) -> jax.Array:
  """What a sum is divided by: that of examples none of which counts is 0."""
  return jnp.where(count > 0, count, 1)


def parameter_count(params: Any) -> int:
  return sum(x.size for x in jax.tree.leaves(params))


def keys_of(key: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
  """One key an example, by its place in the global batch: the same on any number of devices."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])
