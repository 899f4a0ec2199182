"""MNIST: a tokenizer with 7x7 codes, then a class-conditional prior."""

from train.config import Log, Optimizer
from train.data import Data
from train.experiments import VQVAEExperiment
from train.tasks.prior import PriorStage
from train.tasks.vqvae import Codebook, VQVAEStage


def get_config() -> VQVAEExperiment:
  return VQVAEExperiment(
    name="mnist",
    data=Data(source="idx", path="data/mnist"),
    tokenizer=VQVAEStage(
      steps=3000,
      batch_size=64,
      eval_every=500,
      checkpoint_every=500,
      optimizer=Optimizer(learning_rate=1e-3, schedule="cosine"),
      channels=48,
      residual_channels=32,
      codebook=Codebook(num_codes=64, dim=16),
    ),
    prior=PriorStage(
      steps=4000,
      batch_size=64,
      eval_every=500,
      checkpoint_every=500,
      optimizer=Optimizer(learning_rate=1e-3, schedule="cosine"),
      channels=64,
      num_layers=6,
      kernel_size=3,
      hidden=128,
      dropout=0.1,
      judge_size=14,
    ),
    log=Log(every=100),
  )
