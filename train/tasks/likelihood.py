"""Trains an autoregressive model of codes by likelihood; what all priors' tasks share."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from train import optimizer as optimizers
from train.config import TrainingStage, field
from train.optimizer import State
from train.task import Batch, Context, Task
from vqlab import metrics


@dataclasses.dataclass(frozen=True)
class LikelihoodStage(TrainingStage):
  """What every prior has."""

  dropout: float = field(0.0, least=0, most=0.99)
  class_conditional: bool = field(True)
  """Learn the codes given the class, where the data has classes."""


class Sums(NamedTuple):
  """What an evaluation adds up."""

  nats: metrics.Total
  counts: jax.Array  # f32[K]  how often each code occurs


def make(
  stage: LikelihoodStage,
  model: nn.Module,
  inputs: Callable[[Context, Batch], tuple[jax.Array, Any]],
  *,
  blank: tuple[jax.Array, Any],
  dims: int,
  upper: Callable[[], Sequence[tuple[float, int]]] = tuple,
  **parts: Any,
) -> Task:
  """The task of a prior.

  Args:
    inputs: (context, batch) -> codes i32[B, ...] and what they are conditioned on, a pytree whose
      leaves have the axis B.
    blank: an example of both with B = 1, from which parameters are made.
    dims: values of an image, H * W * C, to which rates in bits are referred.
    upper: nats a code and codes an image of every level above, once they are known.
    parts: the other fields of `Task`.
  """
  optimizer = optimizers.make(stage.optimizer, stage.steps)
  codes_per_example, num_codes = int(np.prod(blank[0].shape)), model.num_codes

  def init(key: jax.Array) -> State:
    params = model.init(key, *blank)["params"]
    return optimizers.initial(optimizer, params)

  def train_logits(params, codes, cond, keys):
    if not stage.dropout:
      return model.apply({"params": params}, codes, cond)

    # One key an example, by its place in the global batch: the same on any number of devices.
    def one(example, key):
      codes, cond = jax.tree.map(lambda x: x[None], example)
      return model.apply({"params": params}, codes, cond, train=True, rngs={"dropout": key})[0]

    return jax.vmap(one)((codes, cond), keys)

  def gradients(
    state: State, context: Context, batch: Batch, key: jax.Array, *, axis_name: str | None = None
  ):
    codes, cond = inputs(context, batch)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])

    def loss(params):
      nll = metrics.negative_log_likelihood(train_logits(params, codes, cond, keys), codes)
      return nll.sum / metrics.across(nll.count, axis_name)

    value, grads = jax.value_and_grad(loss)(state.params)
    value, grads = metrics.across((value, grads), axis_name)
    return grads, value

  def step(state: State, context: Context, batch: Batch, key: jax.Array, *, axis_name=None):
    key = jax.random.fold_in(key, state.step)
    grads, value = gradients(state, context, batch, key, axis_name=axis_name)
    state, norm = optimizers.update(optimizer, grads, state)
    return state, {"loss": value, "grad_norm": norm}

  def evaluate(state: State, context: Context, batch: Batch) -> Sums:
    codes, cond = inputs(context, batch)
    logits = model.apply({"params": state.params}, codes, cond)
    return Sums(
      metrics.negative_log_likelihood(logits, codes, mask=batch["mask"]),
      metrics.code_counts(codes, num_codes=num_codes, mask=batch["mask"]),
    )

  def figures(sums: Sums) -> dict[str, float]:
    nats = float(metrics.mean(sums.nats))
    bits = float(
      metrics.bits_per_dim(nats, codes_per_example=codes_per_example, dims_per_example=dims)
    )
    values = {
      "nats_per_code": nats,
      "unigram_nats": float(metrics.unigram_entropy(sums.counts)),
      "uniform_nats": float(np.log(num_codes)),
      "bits_per_dim": bits,
    }
    if above := list(upper()):
      levels = zip(*above, (nats, codes_per_example), strict=True)
      values["total_bits_per_dim"] = float(metrics.total_bits_per_dim(*levels, dims))
    return values

  return Task(
    model=model,
    init=init,
    gradients=gradients,
    step=step,
    evaluate=evaluate,
    figures=figures,
    select="nats_per_code",
    **parts,
  )
