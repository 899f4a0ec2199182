"""Trains a PixelCNN over the codes of a frozen tokenizer, encoding images inside the step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from train import judge
from train.config import Experiment, field
from train.data import Split
from train.errors import BadInput
from train.generate import Generator, draw_all
from train.optimizer import State
from train.report import sheet
from train.task import Batch, Finished, Task
from train.tasks import likelihood, networks
from train.tasks.likelihood import LikelihoodStage
from train.tasks.tokenizer import Tokenizer, tokenizer
from vqlab import generation, priors


@dataclasses.dataclass(frozen=True)
class PriorStage(LikelihoodStage):
  """A gated PixelCNN over the tokenizer's codes."""

  channels: int = field(128, least=1)
  """Width of both stacks."""
  num_layers: int = field(12, least=1)
  kernel_size: int = field(5, least=3)
  hidden: int = field(512, least=1)
  """Width of the layer before the logits."""
  judge_size: int = field(0, least=0)
  """Side to which images are shrunk for the regression that judges samples; 0: no judge."""
  judge_samples: int = field(500, least=1)
  """How many samples are judged."""


def make(experiment: Experiment, own: str, split: Split, finished: dict[str, Finished]) -> Task:
  """The task; its context is the finished stage "tokenizer", or shapes where there is none yet."""
  stage: PriorStage = getattr(experiment, own)
  network = networks.of(experiment.tokenizer, split.image_shape)
  (shape,), (num_codes,) = network.shapes, network.num_codes
  num_classes = split.num_classes if stage.class_conditional else 0
  model = priors.PixelCNN(
    num_codes=num_codes,
    codes_per_position=shape[2] if len(shape) > 2 else 1,
    num_classes=num_classes,
    map_shape=shape[:2],
    channels=stage.channels,
    num_layers=stage.num_layers,
    kernel_size=stage.kernel_size,
    hidden=stage.hidden,
    dropout=stage.dropout,
    dtype=jnp.dtype(stage.dtype),
    param_dtype=jnp.dtype(stage.param_dtype),
  )
  if stage.judge_size > min(split.image_shape[:2]):
    raise BadInput(
      f"prior.judge_size is {stage.judge_size}; the images are {split.image_shape[0]}x"
      f"{split.image_shape[1]}, and they can only be shrunk"
    )

  def inputs(context: Tokenizer, batch: Batch) -> tuple[jax.Array, jax.Array | None]:
    (codes,) = network.encode(*context, network.images(batch))
    return codes, batch["label"] if num_classes else None

  def samples(state: State, context: Tokenizer, labels: np.ndarray) -> np.ndarray:
    levels = (generation.Level(model, state.params, shape),)
    key = jax.random.key(experiment.seed)
    return draw_all(Generator(network, context, levels, split.image_shape), key, labels).images

  def pictures(state: State, context: Tokenizer, split: Split) -> dict[str, np.ndarray]:
    columns, rows = 10, min(num_classes or 10, 20)
    labels = np.repeat(np.arange(rows, dtype=np.int32), columns)
    return {"samples": sheet(samples(state, context, labels), columns)}

  def judged(state: State, context: Tokenizer, train: Split, held_out: Split) -> dict[str, float]:
    if not stage.judge_size or num_classes < 2:
      return {}
    labels = np.arange(stage.judge_samples, dtype=np.int32) % num_classes
    return judge.class_accuracy(
      train, held_out, samples(state, context, labels), labels, size=stage.judge_size
    )

  return likelihood.make(
    stage,
    model,
    inputs,
    blank=(jnp.zeros((1, *shape), jnp.int32), jnp.zeros(1, jnp.int32) if num_classes else None),
    dims=int(np.prod(split.image_shape)),
    pictures=pictures,
    judged=judged,
    context=tokenizer(finished["tokenizer"].state),
    decided_by=DECIDED_BY,
    example=finished["tokenizer"].task.example,
  )


DECIDED_BY = {
  r"positions": ("data.image_size", "tokenizer.num_downsamples"),
  r"embed|out_": ("tokenizer.codebook.num_codes", "tokenizer.codes_per_position", "hidden"),
  r"labels": ("class_conditional", "data.path"),
  r"layers_\d": ("channels", "num_layers", "kernel_size"),
  r"to_hidden": ("channels", "hidden"),
}
