"""The kinds of experiment: which stages, in which order, and what makes each stage's task."""

import dataclasses
from typing import Any

from train.config import Experiment, field, stages
from train.data import Split
from train.task import Task, Work
from train.tasks import classify, extract, pixelsnail, prior, vqvae, vqvae2
from train.tasks.classify import ClassifierStage
from train.tasks.extract import ExtractStage
from train.tasks.pixelsnail import PixelSNAILStage
from train.tasks.prior import PriorStage
from train.tasks.vqvae import VQVAEStage
from train.tasks.vqvae2 import VQVAE2Stage


@dataclasses.dataclass(frozen=True)
class VQVAEExperiment(Experiment):
  """A VQ-VAE, then a prior over its codes."""

  tokenizer: VQVAEStage = field(VQVAEStage())
  prior: PriorStage = field(PriorStage())


@dataclasses.dataclass(frozen=True)
class VQVAE2Experiment(Experiment):
  """VQ-VAE-2 with two levels: their codes extracted, then a prior of the top, one of the bottom.

  Another number of levels is a class like this one, added to `_KINDS`: its priors stand in order,
  top first, and `tokenizer.downsamples` has as many numbers.
  """

  tokenizer: VQVAE2Stage = field(VQVAE2Stage())
  extract: ExtractStage = field(ExtractStage())
  top: PixelSNAILStage = field(PixelSNAILStage())
  bottom: PixelSNAILStage = field(PixelSNAILStage(attention=False, num_out_blocks=0))


@dataclasses.dataclass(frozen=True)
class VQVAE2ThreeLevelExperiment(Experiment):
  """VQ-VAE-2 with three levels."""

  tokenizer: VQVAE2Stage = field(VQVAE2Stage(downsamples=(1, 1, 3)))
  extract: ExtractStage = field(ExtractStage())
  top: PixelSNAILStage = field(PixelSNAILStage())
  middle: PixelSNAILStage = field(PixelSNAILStage())
  bottom: PixelSNAILStage = field(PixelSNAILStage(attention=False))


@dataclasses.dataclass(frozen=True)
class ClassifierExperiment(Experiment):
  """A small classifier, to reject samples by and to judge them in its features."""

  classifier: ClassifierStage = field(ClassifierStage())


_KINDS = (VQVAEExperiment, VQVAE2Experiment, VQVAE2ThreeLevelExperiment, ClassifierExperiment)
KINDS: dict[str, type[Experiment]] = {kind.__name__: kind for kind in _KINDS}

_MAKERS = {
  VQVAEStage: vqvae.make,
  VQVAE2Stage: vqvae2.make,
  PriorStage: prior.make,
  ExtractStage: extract.make,
  PixelSNAILStage: pixelsnail.make,
  ClassifierStage: classify.make,
}


def make_task(
  experiment: Experiment, name: str, split: Split, finished: dict[str, Any]
) -> Task | Work:
  """The task of a stage. `finished`: the stages before it, by name."""
  return _MAKERS[type(stages(experiment)[name])](experiment, name, split, finished)
