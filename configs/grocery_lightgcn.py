"""LightGCN (arXiv 2002.02126) on Amazon's Grocery of 2014.

    python -m train fit grocery_lightgcn --workdir runs/grocery-lightgcn --data.path PATH

As grocery_bpr, with three layers and the paper's start and penalty.

Expected HR@5 .3705 and NDCG@5 .2564 of the test item among 99 drawn: ReChorus's table.
Hardware two CPU cores, no accelerator.
Measured on two busy cores (float32), seeds 0, 1 and 2, 89 to 110 s each: HR@5 .3671, .3699, .3692,
         NDCG@5 .2555, .2574, .2569; of all items ranked, recall@20 .0690, .0698, .0702, NDCG@20
         .0276, .0284, .0286.
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
