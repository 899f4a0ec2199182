"""Trains a small classifier of images: it rejects samples, and its features judge them."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train import learn
from train.codes.pixels import from_bytes
from train.config import TrainingStage
from train.fields import field
from train.images import augment
from train.images.sheets import sheet
from train.judging import Sums, figures_of, in_batches, sums_of
from train.learn import Learned, State
from train.task import Batch, Report, Run, Splits, Task, reported
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

  def make(self, run: Run) -> Task:
    num_classes, shape = run.about["num_classes"], tuple(run.about["image_shape"])
    if num_classes < 2:
      raise ValueError(f"the data have {num_classes} classes; a classifier needs at least 2")
    model = SmallClassifier(
      num_classes=num_classes,
      widths=self.widths,
      blocks=self.blocks,
      dropout=self.dropout,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )
    optimizer = learn.optimizer_of(self)

    def init(key: jax.Array, context: Any) -> State:
      images = jnp.zeros((1, *shape), self.param_dtype)
      return learn.initial(optimizer, model.init(key, images)["params"])

    def loss(params, rest, context, batch, key, *, axis_name):
      images, keys = from_bytes(batch["image"], self.param_dtype), learn.keys_of(key, batch)
      if self.max_shift:
        own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 0)
        images = augment.shifted(images, own, self.max_shift)

      def one(image, key):
        rngs = {"dropout": jax.random.fold_in(key, 1)}
        return model.apply({"params": params}, image[None], train=True, rngs=rngs)[0]

      sums = sums_of(jax.vmap(one)(images, keys), batch)
      return sums.nats, (rest, {"accuracy": sums.right})

    def evaluate(learned: Learned, context: Any, batch: Batch) -> Sums:
      return sums_of(logits_of(learned.params, batch["image"]), batch)

    def logits_of(params: dict, images: jax.Array) -> jax.Array:
      return model.apply({"params": params}, from_bytes(images, self.param_dtype))

    def report(learned: Learned, examples: Splits) -> Report:
      """The images that the classifier finds least like their class, the worst first."""
      split = reported(examples)
      images, labels = split.read(np.arange(min(len(split), 2000)), None).values()
      logits = in_batches(functools.partial(jax.jit(logits_of), learned.params), images)
      scores = np.asarray(jax.nn.log_softmax(logits))
      own = np.take_along_axis(scores, labels[:, None], 1)[:, 0]
      return Report(files={"hardest.png": sheet(images[np.argsort(own, kind="stable")[:40]], 10)})

    return Task(
      init=init,
      step=learn.step_of(loss, optimizer, accumulate=self.accumulate),
      evaluate=evaluate,
      figures=figures_of,
      best="-cross_entropy",
      examples=lambda: run.splits,
      spec={
        "image": jax.ShapeDtypeStruct(shape, np.uint8),
        "label": jax.ShapeDtypeStruct((), np.int32),
      },
      report=report,
      model=model,
    )
