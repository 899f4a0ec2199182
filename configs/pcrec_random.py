"""Matrix factorisation of Pantry from random numbers: what PCRec is to be better than.

    python -m train fit pcrec_random --workdir runs/pcrec_random --data.source.path GROCERY \
      --data.target.path PANTRY

See configs/pcrec.py, whose arm this is.

Expected less than pcrec, as the paper has it.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32), seeds 0, 1 and 2, about 17 s each:
         recall@20 .0474, .0454, .0470,
         NDCG@20 .0197, .0191, .0195.
"""

from configs.pcrec import experiment, factorisation
from train.config import Experiment
from train.ratings.starts import Normal


def get_config() -> Experiment:
  return experiment("pcrec_random", factors=factorisation(start=Normal(scale=0.01)))
