"""Trains a PixelCNN over the codes of a frozen tokenizer, encoding examples inside the step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.codes import generation, likelihood
from train.codes.likelihood import LikelihoodStage
from train.codes.tokenizer import TokenizerStage
from train.fields import field
from train.learn import Learned
from train.task import Batch, Report, Run, Splits, Task
from vqlab import priors


@dataclasses.dataclass(frozen=True)
class PixelCNNStage(LikelihoodStage):
  """A gated PixelCNN over the tokenizer's codes."""

  channels: int = field(128, least=1)
  """Width of both stacks."""
  num_layers: int = field(12, least=1)
  kernel_size: int = field(5, least=3)
  hidden: int = field(512, least=1)
  """Width of the layer before the logits."""

  def make(self, run: Run) -> Task:
    done = run.the(TokenizerStage)
    coder = done.stage.coder(run.about)
    if len(coder.shapes) != 1:
      raise ValueError(f"the tokenizer has {len(coder.shapes)} levels; a PixelCNN learns one")
    (shape,), num_classes = coder.shapes, self.num_classes(run.about)
    model = priors.PixelCNN(
      num_codes=coder.num_codes,
      codes_per_position=shape[2] if len(shape) > 2 else 1,
      num_classes=num_classes,
      map_shape=shape[:2],
      channels=self.channels,
      num_layers=self.num_layers,
      kernel_size=self.kernel_size,
      hidden=self.hidden,
      dropout=self.dropout,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )

    def inputs(context: Any, batch: Batch) -> tuple[jax.Array, jax.Array | None]:
      (codes,) = coder.encode(context, coder.inputs(batch))
      return codes, batch["label"] if num_classes else None

    def report(learned: Learned, examples: Splits) -> Report:
      columns, rows = 10, min(num_classes or 10, 20)
      labels = np.repeat(np.arange(rows, dtype=np.int32), columns)
      drawn = self.samples(run, model, learned, labels)
      return Report(files=coder.show("samples", drawn, columns=columns))

    return likelihood.task_of(
      self,
      model,
      inputs,
      blank=(jnp.zeros((1, *shape), jnp.int32), jnp.zeros(1, jnp.int32) if num_classes else None),
      dims=coder.dims,
      examples=done.task.examples,
      spec=coder.spec,
      report=report,
      context=done.learned,
    )

  def samples(self, run: Run, model: Any, learned: Learned, labels: np.ndarray) -> np.ndarray:
    """What is drawn for labels i32[N], by the experiment's seed."""
    source = generation.of_run(run, (model, learned.params))
    return generation.draw(source, jax.random.key(run.config.seed), labels).outputs
