"""A small PCRec of two made-up shops, for tests: seconds, and it learns a little."""

from train.config import Experiment, Log
from train.optimizer import Adam
from train.ratings.encoder import Encoder, Walk
from train.ratings.factors import FactorStage
from train.ratings.judging import Judge
from train.ratings.pretrain import PretrainStage
from train.ratings.sources import Market, TwoShops
from train.ratings.starts import Encoded


def get_config() -> Experiment:
  walk = Walk(steps=24, restart=0.5, max_nodes=12, max_hops=2, eigenvectors=6)
  return Experiment(
    name="tiny_ratings",
    data=TwoShops(source=Market(seed=1), target=Market()),
    stages={
      "pretrain": PretrainStage(
        steps=60,
        batch_size=32,
        eval_batch_size=64,
        eval_every=30,
        checkpoint_every=30,
        encoder=Encoder(layers=2, hidden=16, dim=12, degree_dim=4, max_degree=20, walk=walk),
        queue=200,
        momentum=0.9,
        temperature=0.2,
        eval_seeds=128,
        probe_nodes=600,
        optimizer=Adam(learning_rate=5e-3),
      ),
      "factors": FactorStage(
        steps=60,
        batch_size=256,
        eval_batch_size=256,
        eval_every=30,
        checkpoint_every=30,
        dim=12,
        start=Encoded(),
        optimizer=Adam(learning_rate=1e-2),
        judge=Judge(negatives=20),
      ),
    },
    log=Log(every=10),
  )
