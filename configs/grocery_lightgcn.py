"""LightGCN on Amazon's Grocery of 2014 (arXiv 2002.02126).

    python -m train fit grocery_lightgcn --workdir runs/grocery-lightgcn --data.path PATH

Expected
Measured
"""

import dataclasses

from configs import grocery_bpr
from train.config import Experiment
from train.optimizer import Adam
from train.ratings.starts import Normal


def get_config() -> Experiment:
  experiment = grocery_bpr.get_config()
  factors = dataclasses.replace(
    experiment.stages["factors"],
    layers=3,
    start=Normal(scale=0.1),
    penalty=1e-4,
    steps=4000,
    optimizer=Adam(learning_rate=1e-3),
  )
  return dataclasses.replace(experiment, name="grocery_lightgcn", stages={"factors": factors})
