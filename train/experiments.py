"""The kinds of experiment: which stages, in which order, and what makes each stage's task."""

import dataclasses
import functools
import re
from typing import Any

from train.config import Experiment, field, stages
from train.data import Split
from train.errors import BadInput
from train.task import Task, Work
from train.tasks import classify, extract, mlvae, pixelsnail, prior, vqvae, vqvae2
from train.tasks.classify import ClassifierStage
from train.tasks.extract import ExtractStage
from train.tasks.mlvae import MLVAEStage
from train.tasks.pixelsnail import PixelSNAILStage
from train.tasks.prior import PriorStage
from train.tasks.tokenizer import level_names
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

  `vqvae2_experiment` makes the like with any number of levels.
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


@dataclasses.dataclass(frozen=True)
class MLVAEExperiment(Experiment):
  """A VAE of images in groups, one a label."""

  mlvae: MLVAEStage = field(MLVAEStage())


_KINDS: dict[str, type[Experiment]] = {
  kind.__name__: kind
  for kind in (
    VQVAEExperiment,
    VQVAE2Experiment,
    VQVAE2ThreeLevelExperiment,
    ClassifierExperiment,
    MLVAEExperiment,
  )
}


@functools.cache
def vqvae2_experiment(levels: int) -> type[Experiment]:
  """A kind of experiment: VQ-VAE-2 with so many levels, one prior each, top first."""
  known = {2: VQVAE2Experiment, 3: VQVAE2ThreeLevelExperiment}
  if levels in known:
    return known[levels]
  tokenizer = VQVAE2Stage(downsamples=(*(1,) * (levels - 1), 2))
  fields = [
    ("tokenizer", VQVAE2Stage, field(tokenizer)),
    ("extract", ExtractStage, field(ExtractStage())),
    *((name or "prior", PixelSNAILStage, field(PixelSNAILStage())) for name in level_names(levels)),
  ]
  name = f"VQVAE2Experiment{levels}"
  made = dataclasses.make_dataclass(name, fields, bases=(Experiment,), frozen=True)
  made.__module__, made.__doc__ = __name__, f"VQ-VAE-2 with {levels} levels."
  return made


def kind(name: str) -> type[Experiment]:
  """The kind of experiment by its class's name.

  Raises:
    BadInput: there is none.
  """
  if levels := re.fullmatch(r"VQVAE2Experiment([1-9]\d?)", name):
    return vqvae2_experiment(int(levels[1]))
  if name not in _KINDS:
    raise BadInput(
      f"unknown kind of experiment {name!r}; known: {', '.join(_KINDS)} (train/experiments.py)"
    )
  return _KINDS[name]


_MAKERS = {
  VQVAEStage: vqvae.make,
  VQVAE2Stage: vqvae2.make,
  PriorStage: prior.make,
  ExtractStage: extract.make,
  PixelSNAILStage: pixelsnail.make,
  ClassifierStage: classify.make,
  MLVAEStage: mlvae.make,
}


def make_task(
  experiment: Experiment, name: str, split: Split, finished: dict[str, Any]
) -> Task | Work:
  """The task of a stage. `finished`: the stages before it, by name."""
  return _MAKERS[type(stages(experiment)[name])](experiment, name, split, finished)
