"""A small ML-VAE of the digits, for tests: seconds, and it learns a little."""

from train.config import Log, Optimizer
from train.data import Data
from train.experiments import MLVAEExperiment
from train.tasks.mlvae import MLVAEStage


def get_config() -> MLVAEExperiment:
  return MLVAEExperiment(
    name="tiny_mlvae",
    data=Data(source="digits", image_size=8),
    mlvae=MLVAEStage(
      steps=400,
      batch_size=64,
      eval_every=200,
      checkpoint_every=200,
      optimizer=Optimizer(learning_rate=3e-3),
      content_dim=4,
      style_dim=4,
      hidden=(32,),
      group_size=5,
      accumulated=(1, 4),
      probe_steps=250,
      shots=(1, 5),
      episodes=100,
    ),
    log=Log(every=100),
  )
