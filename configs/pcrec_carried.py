"""PCRec with Grocery's embeddings as a start: the encoder never sees Pantry.

    python -m train fit pcrec_carried --workdir runs/pcrec_carried --data.source.path GROCERY \
      --data.target.path PANTRY

Nodes of the two shops are others; a node of Pantry begins as the node of Grocery at the same
quantile by degree, users as users and items as items. The encoder is that of the run of pcrec,
which comes first; `--factors.start.run` says where it is.

See configs/pcrec.py, whose arm this is.

Expected less than pcrec, more than pcrec_only, as the paper has it.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32), seeds 0, 1 and 2, about 27 s each:
         recall@20 .0441, .0448, .0456,
         NDCG@20 .0188, .0182, .0184.
"""

from configs.pcrec import SCALE, experiment, factorisation
from train.config import Experiment
from train.ratings.starts import Carried


def get_config() -> Experiment:
  start = Carried(scale=SCALE, run="runs/pcrec")
  return experiment("pcrec_carried", factors=factorisation(start=start))
