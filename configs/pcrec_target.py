"""PCRec whose encoder is pre-trained on the target's own training graph: no transfer.

    python -m train fit pcrec_target --workdir runs/pcrec_target --data.source.path GROCERY \
      --data.target.path PANTRY

See configs/pcrec.py, whose arm this is.

Expected about pcrec: the target has nearly as many interactions as the source.
Hardware two CPU cores, no accelerator.
Measured @MEASURED_pcrec_target
"""

from configs.pcrec import SCALE, experiment, factorisation, pretraining
from train.config import Experiment
from train.ratings.starts import Encoded


def get_config() -> Experiment:
  factors = factorisation(start=Encoded(scale=SCALE))
  return experiment("pcrec_target", pretrain=pretraining(on="target"), factors=factors)
