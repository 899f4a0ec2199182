"""PCRec in a market made up: what is learned of one shop helps in another.

    python -m train fit pcrec_small --workdir runs/pcrec-small

Expected
Measured
"""

from train.config import Experiment, Log
from train.optimizer import Adam
from train.ratings.encoder import Encoder, Walk
from train.ratings.factors import FactorStage
from train.ratings.pretrain import PretrainStage
from train.ratings.sources import Market, TwoShops
from train.ratings.starts import Encoded


def get_config() -> Experiment:
  return Experiment(
    name="pcrec_small",
    data=TwoShops(source=Market(size=360, seed=1), target=Market(size=120)),
    stages={
      "pretrain": PretrainStage(
        steps=800,
        batch_size=64,
        eval_batch_size=256,
        eval_every=200,
        checkpoint_every=400,
        encoder=Encoder(walk=Walk(steps=64, restart=0.5, max_nodes=32)),
        queue=2048,
        momentum=0.99,
        temperature=0.2,
        optimizer=Adam(learning_rate=5e-3, schedule="linear", warmup_steps=80, clip_norm=1.0),
      ),
      "factors": FactorStage(
        steps=600,
        batch_size=1024,
        eval_every=50,
        checkpoint_every=200,
        start=Encoded(scale=3.0),
        penalty=1e-3,
        optimizer=Adam(learning_rate=1e-2),
      ),
    },
    log=Log(every=50),
  )
