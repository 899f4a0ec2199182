"""The optimizer of a stage, from its config, and one update by it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from train.config import Optimizer


class State(NamedTuple):
  """What training changes, of a task that has nothing but parameters."""

  step: jax.Array  # i32[]
  params: dict[str, Any]
  opt_state: Any


def make(config: Optimizer, steps: int) -> optax.GradientTransformation:
  """Adam with what the config asks for; `steps` is the stage's length."""
  if config.schedule == "cosine":
    rate = optax.warmup_cosine_decay_schedule(
      0.0 if config.warmup_steps else config.learning_rate,
      config.learning_rate,
      config.warmup_steps,
      max(steps, config.warmup_steps + 1),
    )
  elif config.warmup_steps:
    rate = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
  else:
    rate = config.learning_rate
  adam = optax.adamw(rate, config.b1, config.b2, weight_decay=config.weight_decay)
  if not config.clip_norm:
    return adam
  return optax.chain(optax.clip_by_global_norm(config.clip_norm), adam)


def apply(
  optimizer: optax.GradientTransformation, grads: Any, opt_state: Any, params: Any
) -> tuple[Any, Any, jax.Array]:
  """(new params, new optimizer state, global norm of the gradient)."""
  updates, opt_state = optimizer.update(grads, opt_state, params)
  return optax.apply_updates(params, updates), opt_state, optax.tree.norm(grads)


def initial(optimizer: optax.GradientTransformation, params: Any) -> State:
  """The state before the first step."""
  return State(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def update(
  optimizer: optax.GradientTransformation, grads: Any, state: State
) -> tuple[State, jax.Array]:
  """(the state after a step, global norm of the gradient)."""
  params, opt_state, norm = apply(optimizer, grads, state.opt_state, state.params)
  return State(state.step + 1, params, opt_state), norm
