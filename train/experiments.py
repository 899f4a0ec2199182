"""The kinds of experiment: which stages, in which order, and what makes each stage's task."""

import dataclasses
from typing import Any

from train.config import Experiment, Stage, field, stages
from train.data import Split
from train.task import Task
from train.tasks import prior, vqvae
from train.tasks.prior import PriorStage
from train.tasks.vqvae import VQVAEStage


@dataclasses.dataclass(frozen=True)
class VQVAEExperiment(Experiment):
  """A VQ-VAE, then a prior over its codes."""

  tokenizer: VQVAEStage = field(VQVAEStage())
  prior: PriorStage = field(PriorStage())


KINDS: dict[str, type[Experiment]] = {"VQVAEExperiment": VQVAEExperiment}

_MAKERS = {VQVAEStage: vqvae.make, PriorStage: prior.make}


def make_task(experiment: Experiment, name: str, split: Split, finished: dict[str, Any]) -> Task:
  """The task of a stage. `finished`: the stages before it, by name."""
  stage: Stage = stages(experiment)[name]
  return _MAKERS[type(stage)](experiment, stage, split, finished)
