"""PCRec whose encoder is pre-trained on the target's own training graph: no transfer.

    python -m train fit pcrec_target --workdir runs/pcrec_target --data.source.path GROCERY \
      --data.target.path PANTRY

See configs/pcrec.py, whose arm this is.

Expected about pcrec: the target has nearly as many interactions as the source.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32), seeds 0, 1 and 2, about 108 s each:
         recall@20 .0452, .0439, .0439,
         NDCG@20 .0183, .0186, .0186.
"""

from configs.pcrec import SCALE, experiment, factorisation, pretraining
from train.config import Experiment
from train.ratings.starts import Encoded


def get_config() -> Experiment:
  factors = factorisation(start=Encoded(scale=SCALE))
  return experiment("pcrec_target", pretrain=pretraining(on="target"), factors=factors)
