"""What needs no training, on Amazon's Grocery of 2014: popularity, chance and item-kNN.

    python -m train fit grocery_checks --workdir runs/grocery-checks --data.path data/amazon_grocery

data.path is a folder of train.csv, dev.csv and test.csv, ReChorus's split of the 5-core: each
user's last item for test, the one before for dev. A figure below these has learned nothing.

Expected of popularity, for the test item among 99 that the user never took, HR@5 0.2018 and NDCG@5
         0.1288: the mean over all that could be drawn, with a deviation of 0.0016 and 0.0008. There
         equal scores count against the item; 0.2057 is HR@5 where they count for it. ReChorus's
         table says 0.2065 and 0.1301. Of chance HR@5 0.05.
Hardware two CPU cores, no accelerator.
Measured on two cores, 14,681 users and 8,713 items, 6 s; the first three columns are of all items
         ranked, the others of the item among 99:

                       recall@5  recall@20  NDCG@20     HR@5  NDCG@5   HR@10
         popularity      0.0044     0.0139   0.0055   0.1994  0.1287  0.3338
         chance          0.0007     0.0023   0.0008   0.0492  0.0290  0.0973
         item-kNN        0.0234     0.0510   0.0228   0.2324  0.1672  0.2671

         Of 60 other draws of the 99: popularity HR@5 0.2020 and NDCG@5 0.1288 in the mean.
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
