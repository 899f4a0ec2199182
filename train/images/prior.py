"""A PixelCNN over codes of images, whose samples a judge sees."""

import dataclasses
from typing import Any

import numpy as np

from train.codes.pixelcnn import PixelCNNStage
from train.codes.tokenizer import Coder, Tokenizer, TokenizerStage
from train.fields import field
from train.images import judge, likelihood
from train.learn import Learned
from train.task import Batch, Report, Run, Splits, Task, reported
from vqlab import metrics


@dataclasses.dataclass(frozen=True)
class PriorStage(PixelCNNStage):
  """A gated PixelCNN over the tokenizer's codes."""

  judge_size: int = field(0, least=0)
  """Side to which images are shrunk for the regression that judges samples; 0: no judge."""
  judge_samples: int = field(500, least=1)
  """How many samples are judged."""

  def make(self, run: Run) -> Task:
    height, width, _ = run.about["image_shape"]
    if self.judge_size > min(height, width):
      raise ValueError(
        f"judge_size is {self.judge_size}; the images are {height}x{width}, and they can only be "
        "shrunk"
      )
    coder = run.the(TokenizerStage).stage.coder(run.about)
    task, num_classes = super().make(run), self.num_classes(run.about)
    task = task if coder.nats is None else _with_image_bits(task, coder)
    if not self.judge_size or num_classes < 2:
      return task

    def report(learned: Learned, examples: Splits) -> Report:
      labels = np.arange(self.judge_samples, dtype=np.int32) % num_classes
      samples: Any = self.samples(run, task.model, learned, labels)
      seen = judge.Judge(examples["train"], reported(examples), size=self.judge_size)
      figures = {
        "judge_accuracy": seen.accuracy,
        "sample_accuracy": seen.sample_accuracy(samples, labels),
      }
      return Report(figures, task.report(learned, examples).files)

    return task._replace(report=report)


def _with_image_bits(task: Task, coder: Coder) -> Task:
  """With the bound -log p(x | codes) - log p(codes) of the same images."""

  def evaluate(learned: Learned, trained: Tokenizer, batch: Batch) -> tuple[Any, metrics.Total]:
    x = coder.inputs(batch)
    nats = coder.nats(coder.decode(trained, coder.encode(trained, x)), x)
    return task.evaluate(learned, trained, batch), metrics.total(nats, mask=batch["mask"])

  def figures(sums: tuple[Any, metrics.Total]) -> dict[str, float]:
    values, given = task.figures(sums[0]), metrics.mean(sums[1])
    bits = values["bits_per_dim"] + float(likelihood.bits(given, coder.dims))
    return values | {"image_bits_prior": bits}

  return task._replace(evaluate=evaluate, figures=figures)
