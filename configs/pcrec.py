"""PCRec: an encoder pre-trained on Grocery embeds the users and items of Pantry, which is where
matrix factorisation begins there.

    python -m train fit pcrec --workdir runs/pcrec --data.source.path GROCERY \
      --data.target.path PANTRY

GROCERY is a folder of train.csv, dev.csv and test.csv, PANTRY one with Pantry.inter, whose 5-core
is taken. Wang et al. 2021, "Pre-training Graph Neural Network for Cross Domain Recommendation",
over GCC (arXiv 2006.09963). The other arms are pcrec_only, pcrec_carried, pcrec_untrained,
pcrec_random, pcrec_target, pcrec_lightgcn and pcrec_3hop; docs/ratings.md compares them.

Expected more than pcrec_random and pcrec_carried, and these more than pcrec_only, as the paper has
         it; no figure of the paper is known for these shops.
Hardware two CPU cores, no accelerator.
Measured on two cores (float32), seeds 0, 1 and 2, about 110 s each: a null result. Recall@20 .0447,
         .0468, .0442, NDCG@20 .0185, .0198, .0185, of all items ranked; from random numbers
         (pcrec_random) .0474, .0454, .0470 and .0197, .0191, .0195. InfoNCE of held-out nodes 3.25,
         3.25, 3.28 nats; by a linear probe of the vectors of Pantry's nodes degrees are right in
         96.7, 96.7, 96.9 % and core numbers in 72.4, 72.8, 72.0 %, of an untrained encoder's in
         93.9 % and 68.1 %.
"""

from typing import Any

from train.config import Experiment, Log
from train.optimizer import Adam
from train.ratings.encoder import Encoder, Walk
from train.ratings.factors import FactorStage
from train.ratings.judging import Judge
from train.ratings.pretrain import PretrainStage
from train.ratings.sources import Inter, Table, TwoShops
from train.ratings.starts import Encoded

SCALE = 0.1  # of the encoder's vectors, whose length is 1 at most, at the start


def encoder(hops: int = 2) -> Encoder:
  return Encoder(walk=Walk(steps=128, restart=0.5, max_nodes=64, max_hops=hops))


def pretraining(hops: int = 2, **fields: Any) -> PretrainStage:
  return PretrainStage(
    steps=1500,
    batch_size=64,
    eval_batch_size=256,
    eval_every=500,
    checkpoint_every=500,
    encoder=encoder(hops),
    queue=4096,
    momentum=0.99,
    optimizer=Adam(learning_rate=5e-3, schedule="linear", warmup_steps=150, clip_norm=1.0),
    **fields,
  )


def factorisation(**fields: Any) -> FactorStage:
  shared = {
    "steps": 4000,
    "batch_size": 2048,
    "eval_every": 400,
    "checkpoint_every": 2000,
    "penalty": 0.03,
    "optimizer": Adam(learning_rate=5e-3),
    "judge": Judge(negatives=99),
  }
  return FactorStage(**shared | fields)


def experiment(name: str, **stages: Any) -> Experiment:
  """An arm: the same shops and splits, other stages."""
  return Experiment(
    name=name,
    data=TwoShops(
      source=Table(path="data/amazon_grocery"),
      target=Inter(path="data/amazon_pantry", user_core=5, item_core=5),
    ),
    stages=stages,
    log=Log(every=100),
  )


def get_config() -> Experiment:
  start = Encoded(scale=SCALE)
  return experiment("pcrec", pretrain=pretraining(), factors=factorisation(start=start))
