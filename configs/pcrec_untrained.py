"""PCRec with an encoder that has learned nothing: what the features alone are worth.

    python -m train fit pcrec_untrained --workdir runs/pcrec_untrained --data.source.path GROCERY \
      --data.target.path PANTRY

See configs/pcrec.py, whose arm this is.

Expected less than pcrec, if pre-training is worth anything.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32), seeds 0, 1 and 2, about 30 s each:
         recall@20 .0462, .0460, .0456,
         NDCG@20 .0186, .0188, .0186.
"""

from configs.pcrec import SCALE, encoder, experiment, factorisation
from train.config import Experiment
from train.ratings.starts import Untrained


def get_config() -> Experiment:
  start = Untrained(scale=SCALE, encoder=encoder())
  return experiment("pcrec_untrained", factors=factorisation(start=start))
