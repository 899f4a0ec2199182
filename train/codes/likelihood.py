"""Trains an autoregressive model of codes by likelihood; what all priors' tasks share."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from train import learn
from train.config import TrainingStage
from train.fields import field
from train.learn import Learned, State
from train.task import Batch, Task
from vqlab import metrics


@dataclasses.dataclass(frozen=True)
class LikelihoodStage(TrainingStage):
  """What every prior has."""

  dropout: float = field(0.0, least=0, most=0.99)
  class_conditional: bool = field(True)
  """Learn the codes given the class, where the data has classes."""

  def num_classes(self, about: dict[str, Any]) -> int:
    """That the model knows; 0 where it learns none."""
    return about.get("num_classes", 0) if self.class_conditional else 0


class Sums(NamedTuple):
  """What an evaluation adds up."""

  nats: metrics.Total
  counts: jax.Array  # f32[K]  how often each code occurs


def task_of(
  stage: LikelihoodStage,
  model: nn.Module,
  inputs: Callable[[Any, Batch], tuple[jax.Array, Any]],
  *,
  blank: tuple[jax.Array, Any],
  dims: int,
  upper: Callable[[], Sequence[tuple[float, int]]] = tuple,
  mask: Callable[[Batch], jax.Array] = lambda batch: batch["mask"],
  more: Callable[[dict[str, float]], dict[str, float]] = lambda figures: {},
  **parts: Any,
) -> Task:
  """The task of a prior.

  Args:
    inputs: (context, batch) -> codes i32[B, ...] and what they are conditioned on, a pytree whose
      leaves have the axis B.
    blank: an example of both with B = 1, from which parameters are made.
    dims: values of an example, H * W * C of an image, to which rates in bits are referred.
    upper: nats a code and codes an example of every level above, once they are known.
    mask: of a batch, codes that are evaluated: bool over leading axes of theirs.
    more: figures made of the others.
    parts: the other fields of `Task`.
  """
  optimizer = learn.optimizer_of(stage)
  codes_per_example, num_codes = int(np.prod(blank[0].shape)), model.num_codes

  def init(key: jax.Array, context: Any) -> State:
    return learn.initial(optimizer, model.init(key, *blank)["params"])

  def train_logits(params, codes, cond, keys):
    if not stage.dropout:
      return model.apply({"params": params}, codes, cond)

    def one(example, key):
      codes, cond = jax.tree.map(lambda x: x[None], example)
      return model.apply({"params": params}, codes, cond, train=True, rngs={"dropout": key})[0]

    return jax.vmap(one)((codes, cond), keys)

  def loss(params, rest, context, batch, key, *, axis_name):
    codes, cond = inputs(context, batch)
    logits = train_logits(params, codes, cond, learn.keys_of(key, batch))
    return metrics.negative_log_likelihood(logits, codes), (rest, {})

  def evaluate(learned: Learned, context: Any, batch: Batch) -> Sums:
    codes, cond = inputs(context, batch)
    logits = model.apply({"params": learned.params}, codes, cond)
    return Sums(
      metrics.negative_log_likelihood(logits, codes, mask=mask(batch)),
      metrics.code_counts(codes, num_codes=num_codes, mask=mask(batch)),
    )

  def figures(sums: Sums) -> dict[str, float]:
    nats = float(metrics.mean(sums.nats))
    sizes = {"codes_per_example": codes_per_example, "dims_per_example": dims}
    values = {
      "nats_per_code": nats,
      "unigram_nats": float(metrics.unigram_entropy(sums.counts)),
      "uniform_nats": float(np.log(num_codes)),
      "bits_per_dim": float(metrics.bits_per_dim(nats, **sizes)),
    }
    if above := list(upper()):
      levels = zip(*above, (nats, codes_per_example), strict=True)
      values["total_bits_per_dim"] = float(metrics.total_bits_per_dim(*levels, dims))
    return values | more(values)

  return Task(
    init=init,
    step=learn.step_of(loss, optimizer, accumulate=stage.accumulate),
    evaluate=evaluate,
    figures=figures,
    best="-nats_per_code",
    model=model,
    **parts,
  )
