"""What needs no training, on Amazon's Grocery of 2014: popularity, chance and item-kNN.

    python -m train fit grocery_checks --workdir runs/grocery-checks --data.path data/amazon_grocery

data.path is a folder of train.csv, dev.csv and test.csv, ReChorus's split of the 5-core: each
user's last item for test, the one before for dev. A figure below these has learned nothing.

Expected of popularity, for the test item among 99 that the user never took, HR@5 .2065 and NDCG@5
         .1301: ReChorus's table. Equal scores are in random order here; over draws of the 99 and of
         that order HR@5 has a deviation of .0016, NDCG@5 of .0008. Of chance HR@5 .05.
Hardware two CPU cores, no accelerator.
Measured on two cores, 14,681 users and 8,713 items, 6 s; means of the seeds 0, 1 and 2. The first
         three columns are of all items ranked, the others of the item among 99:

                       recall@5  recall@20  NDCG@20     HR@5  NDCG@5   HR@10
         popularity      0.0044     0.0139   0.0055   0.2039  0.1305  0.3372
         chance          0.0006     0.0025   0.0009   0.0497  0.0294  0.1001
         item-kNN        0.0234     0.0510   0.0228   0.2425  0.1740  0.3066

         Popularity's HR@5 was .2047, .2050 and .2020, its NDCG@5 .1306, .1296 and .1312.
"""

from train.config import Experiment
from train.ratings.checks import ChecksStage
from train.ratings.judging import Judge
from train.ratings.sources import Table


def get_config() -> Experiment:
  return Experiment(
    name="grocery_checks",
    data=Table(path="data/amazon_grocery"),
    stages={"checks": ChecksStage(judge=Judge(negatives=99))},
  )
