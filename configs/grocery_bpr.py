"""Matrix factorisation with BPR (arXiv 1205.2618) on Amazon's Grocery of 2014.

    python -m train fit grocery_bpr --workdir runs/grocery-bpr --data.path PATH

PATH is a folder of train.csv, dev.csv and test.csv, ReChorus's split of the 5-core. Vectors begin
near 0 and are held there: of what was tried, starts of a deviation of 0.1 and penalties below 0.01
were worse on dev.

Expected HR@5 .3549 and NDCG@5 .2486 of the test item among 99 drawn: ReChorus's table.
Hardware two CPU cores, no accelerator.
Measured on two busy cores (float32), seeds 0, 1 and 2, 49 to 60 s each: HR@5 .3528, .3628, .3624,
         NDCG@5 .2467, .2519, .2529; of all items ranked, recall@20 .0695, .0693, .0680, NDCG@20
         .0288, .0289, .0282. grocery_checks has popularity's.
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
