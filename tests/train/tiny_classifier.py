"""A small classifier of the digits, for tests: it learns next to nothing."""

from train.config import Log, Optimizer
from train.data import Data
from train.experiments import ClassifierExperiment
from train.tasks.classify import ClassifierStage


def get_config() -> ClassifierExperiment:
  return ClassifierExperiment(
    name="tiny_classifier",
    data=Data(source="digits"),
    classifier=ClassifierStage(
      steps=8,
      batch_size=16,
      eval_every=4,
      checkpoint_every=4,
      optimizer=Optimizer(learning_rate=1e-3),
      widths=(8, 16),
      blocks=1,
      max_shift=1,
    ),
    log=Log(every=2),
  )
