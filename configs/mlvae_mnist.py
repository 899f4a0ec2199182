"""MNIST in groups of one digit each: an ML-VAE that separates digit from handwriting.

python -m train fit mlvae_mnist --workdir runs/mlvae-mnist --data.path FOLDER
"""

from train.config import Log, Optimizer
from train.data import Data
from train.experiments import MLVAEExperiment
from train.tasks.mlvae import MLVAEStage


def get_config() -> MLVAEExperiment:
  return MLVAEExperiment(
    name="mlvae_mnist",
    data=Data(source="idx", path="data/mnist"),
    mlvae=MLVAEStage(
      steps=30_000,
      batch_size=256,
      eval_every=3000,
      checkpoint_every=3000,
      optimizer=Optimizer(learning_rate=1e-3, schedule="cosine"),
      group_size=16,
    ),
    log=Log(every=300),
  )
