"""LightGCN on Pantry from random numbers (arXiv 2002.02126), beside PCRec's arms.

    python -m train fit pcrec_lightgcn --workdir runs/pcrec_lightgcn --data.source.path GROCERY \
      --data.target.path PANTRY

See configs/pcrec.py, whose arm this is.

Expected more than matrix factorisation from random numbers.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32), seeds 0, 1 and 2, about 42 s each:
         recall@20 .0473, .0461, .0483,
         NDCG@20 .0204, .0189, .0203.
"""

from configs.pcrec import experiment, factorisation
from train.config import Experiment
from train.ratings.starts import Normal


def get_config() -> Experiment:
  factors = factorisation(layers=3, start=Normal(scale=0.1), penalty=1e-3)
  return experiment("pcrec_lightgcn", factors=factors)
