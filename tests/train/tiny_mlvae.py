"""A small ML-VAE of the digits, for tests: seconds, and it learns a little."""

from train.config import Experiment, Log
from train.images.mlvae import MLVAEStage
from train.images.sources import Digits
from train.optimizer import Adam


def get_config() -> Experiment:
  return Experiment(
    name="tiny_mlvae",
    data=Digits(image_size=8),
    stages={
      "mlvae": MLVAEStage(
        steps=400,
        batch_size=64,
        eval_every=200,
        checkpoint_every=200,
        optimizer=Adam(learning_rate=3e-3),
        content_dim=4,
        style_dim=4,
        hidden=(32,),
        group_size=5,
        accumulated=(1, 4),
        probe_steps=250,
        shots=(1, 5),
        episodes=100,
      ),
    },
    log=Log(every=100),
  )
