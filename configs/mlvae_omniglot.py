"""Omniglot in groups of one character each, whole alphabets held out: an ML-VAE whose contents tell
characters that it never saw.

    python -m train fit mlvae_omniglot --workdir runs/mlvae-omniglot --data.path PATH
"""

from train.config import Log, Optimizer
from train.data import Data
from train.experiments import MLVAEExperiment
from train.tasks.mlvae import MLVAEStage


def get_config() -> MLVAEExperiment:
  return MLVAEExperiment(
    name="mlvae_omniglot",
    data=Data(source="omniglot", path="data/omniglot", image_size=28, eval_fraction=0.2),
    mlvae=MLVAEStage(
      steps=4000,
      batch_size=120,
      eval_every=500,
      checkpoint_every=500,
      optimizer=Optimizer(learning_rate=1e-3, schedule="cosine"),
      network="conv",
      content_dim=64,
      style_dim=16,
      hidden=(512,),
      channels=(64, 128),
      group_size=10,
      max_shift=3,
    ),
    log=Log(every=100),
  )
