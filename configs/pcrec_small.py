"""PCRec in a market made up: what is learned of one shop helps in another.

    python -m train fit pcrec_small --workdir runs/pcrec-small

Needs no file. In `train/ratings/market.py` structure tells of what kind a user is, and what he buys
last is of his kind; circles of users are too small for purchases to tell it.

Expected better than from random numbers, and than from an encoder that has learned nothing.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32), seeds 0, 1 and 2, 720 users, 25 s each: recall@20 .1514, .1417,
         .1583, NDCG@20 .0558, .0521, .0535. Other starts, means of three seeds: the encoder's
         vectors with nothing trained .1375 and .0493, the source's embeddings by rank of degree
         .1407 and .0519, an encoder that has learned nothing .1352 and .0492, random numbers .1111
         and .0454; LightGCN .1213 and .0468. docs/ratings.md has the intervals.

         --factors.start Normal --factors.start.scale 0.01, for one, begins with random numbers.
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
