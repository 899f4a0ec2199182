"""A small classifier of the digits, for tests: it learns next to nothing."""

from train.config import Experiment, Log
from train.images.classify import ClassifierStage
from train.images.sources import Digits
from train.optimizer import Adam


def get_config() -> Experiment:
  return Experiment(
    name="tiny_classifier",
    data=Digits(),
    stages={
      "classifier": ClassifierStage(
        steps=8,
        batch_size=16,
        eval_every=4,
        checkpoint_every=4,
        optimizer=Adam(learning_rate=1e-3),
        widths=(8, 16),
        blocks=1,
        max_shift=1,
      ),
    },
    log=Log(every=2),
  )
