"""PCRec that sees nodes up to three edges away instead of two.

    python -m train fit pcrec_3hop --workdir runs/pcrec_3hop --data.source.path GROCERY \
      --data.target.path PANTRY

See configs/pcrec.py, whose arm this is.

Expected less than pcrec, as the paper has it.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32), seeds 0, 1 and 2, about 122 s each:
         recall@20 .0447, .0452, .0449,
         NDCG@20 .0187, .0190, .0190.
"""

from configs.pcrec import SCALE, experiment, factorisation, pretraining
from train.config import Experiment
from train.ratings.starts import Encoded


def get_config() -> Experiment:
  factors = factorisation(start=Encoded(scale=SCALE))
  return experiment("pcrec_3hop", pretrain=pretraining(hops=3), factors=factors)
