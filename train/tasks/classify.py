"""Trains a small classifier of images: it rejects samples, and its features judge them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train import optimizer as optimizers
from train.config import Experiment, TrainingStage, field
from train.data import Split
from train.errors import BadInput
from train.optimizer import State
from train.report import sheet
from train.task import Batch, Task
from train.tasks import augment
from vqlab import metrics
from vqlab.features import SmallClassifier


@dataclasses.dataclass(frozen=True)
class ClassifierStage(TrainingStage):
  """A small residual network, see `vqlab.features.SmallClassifier`."""

  widths: tuple[int, ...] = field((32, 64, 128), least=8)
  """Channels of each stage, multiples of 8; each but the first halves the map."""
  blocks: int = field(2, least=1)
  """Residual blocks a stage."""
  dropout: float = field(0.1, least=0, most=0.99)
  max_shift: int = field(0, least=0)
  """Training images are moved by up to so many pixels, the border repeated."""


class Sums(NamedTuple):
  """What an evaluation adds up."""

  nats: metrics.Total  # cross entropy
  right: metrics.Total


def images_of(images: jax.Array, dtype: str) -> jax.Array:
  """u8[B, H, W, C] -> [-0.5, 0.5]."""
  return images.astype(jnp.promote_types(dtype, jnp.float32)) / 255 - 0.5


def make(experiment: Experiment, own: str, split: Split, finished: dict[str, Any]) -> Task:
  del finished
  stage: ClassifierStage = getattr(experiment, own)
  if split.num_classes < 2:
    raise BadInput(f"{split.name} has {split.num_classes} classes; a classifier needs at least 2")
  model = SmallClassifier(
    num_classes=split.num_classes,
    widths=stage.widths,
    blocks=stage.blocks,
    dropout=stage.dropout,
    dtype=jnp.dtype(stage.dtype),
    param_dtype=jnp.dtype(stage.param_dtype),
  )
  optimizer = optimizers.make(stage.optimizer, stage.steps)

  def init(key: jax.Array) -> State:
    images = jnp.zeros((1, *split.image_shape), stage.param_dtype)
    params = model.init(key, images)["params"]
    return optimizers.initial(optimizer, params)

  def gradients(
    state: State, context: tuple, batch: Batch, key: jax.Array, *, axis_name: str | None = None
  ):
    del context
    images = images_of(batch["image"], stage.param_dtype)
    # One key an example, by its place in the global batch: the same on any number of devices.
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])
    if stage.max_shift:
      own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 0)
      images = augment.shifted(images, own, stage.max_shift)

    def loss(params):
      def one(image, key):
        rngs = {"dropout": jax.random.fold_in(key, 1)}
        return model.apply({"params": params}, image[None], train=True, rngs=rngs)[0]

      logits = jax.vmap(one)(images, keys)
      nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
      right = metrics.accuracy(logits, batch["label"])
      return jnp.sum(nats) / metrics.across(right.count, axis_name), right

    (value, right), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    value, right, grads = metrics.across((value, right, grads), axis_name)
    return grads, (value, metrics.mean(right))

  def step(state: State, context: tuple, batch: Batch, key: jax.Array, *, axis_name=None):
    key = jax.random.fold_in(key, state.step)
    grads, (value, right) = gradients(state, context, batch, key, axis_name=axis_name)
    state, norm = optimizers.update(optimizer, grads, state)
    figures = {"loss": value, "accuracy": right, "grad_norm": norm}
    return state, figures

  def logits_of(params: dict, images: jax.Array) -> jax.Array:
    return model.apply({"params": params}, images_of(images, stage.param_dtype))

  def evaluate(state: State, context: tuple, batch: Batch) -> Sums:
    del context
    logits = logits_of(state.params, batch["image"])
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    return Sums(
      metrics.total(nats, mask=batch["mask"]),
      metrics.accuracy(logits, batch["label"], mask=batch["mask"]),
    )

  def figures(sums: Sums) -> dict[str, float]:
    return {
      "cross_entropy": float(metrics.mean(sums.nats)),
      "accuracy": float(metrics.mean(sums.right)),
    }

  def pictures(state: State, context: tuple, split: Split) -> dict[str, np.ndarray]:
    """The held-out images that the classifier finds least like their class, the worst first."""
    del context
    images, labels = split.gather(np.arange(min(len(split), 2000)))
    logits = np.concatenate(
      [jax.jit(logits_of)(state.params, images[i : i + 250]) for i in range(0, len(images), 250)]
    )
    scores = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), labels[:, None], 1)[:, 0]
    return {"hardest": sheet(images[np.argsort(scores, kind="stable")[:40]], 10)}

  return Task(
    model=model,
    init=init,
    gradients=gradients,
    step=step,
    evaluate=evaluate,
    figures=figures,
    select="cross_entropy",
    pictures=pictures,
    judged=lambda state, context, train, held_out: {},
    context=(),
    decided_by={
      r"head": ("data.path", "data.name", "widths"),
      r".*": ("widths", "blocks"),
    },
    example={
      "image": jax.ShapeDtypeStruct(split.image_shape, np.uint8),
      "label": jax.ShapeDtypeStruct((), np.int32),
    },
  )
