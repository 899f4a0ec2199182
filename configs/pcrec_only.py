"""PCRec without training on the target: Pantry's items as the encoder's vectors rank them.

    python -m train fit pcrec_only --workdir runs/pcrec_only --data.source.path GROCERY \
      --data.target.path PANTRY

Nothing is learned of who takes what: one step of rate 0. The encoder is that of the run of pcrec,
which comes first; `--factors.start.run` says where it is.

See configs/pcrec.py, whose arm this is.

Expected less than all other arms, as the paper has it.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32), seeds 0, 1 and 2, about 14 s each:
         recall@20 .0032, .0023, .0035,
         NDCG@20 .0011, .0008, .0013; chance gives .0044 of recall.
"""

from configs.pcrec import experiment, factorisation
from train.config import Experiment
from train.optimizer import SGD
from train.ratings.starts import Encoded


def get_config() -> Experiment:
  start = Encoded(run="runs/pcrec")
  factors = factorisation(start=start, steps=1, optimizer=SGD(learning_rate=0.0))
  return experiment("pcrec_only", factors=factors)
