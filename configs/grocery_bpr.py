"""Matrix factorisation with BPR on Amazon Grocery 2014 (arXiv 1205.2618).

    python -m train fit grocery_bpr --workdir runs/grocery-bpr --data.path PATH

Expected
Measured
"""

from train.config import Experiment, Log
from train.optimizer import Adam
from train.ratings.factors import FactorStage
from train.ratings.judging import Judge
from train.ratings.sources import Table
from train.ratings.starts import Normal


def get_config() -> Experiment:
  return Experiment(
    name="grocery_bpr",
    data=Table(path="data/amazon_grocery"),
    stages={
      "factors": FactorStage(
        steps=8000,
        batch_size=2048,
        eval_every=500,
        checkpoint_every=2000,
        start=Normal(scale=0.01),
        penalty=0.06,
        optimizer=Adam(learning_rate=1e-3),
        judge=Judge(negatives=99),
      ),
    },
    log=Log(every=250),
  )
