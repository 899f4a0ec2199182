"""scikit-learn's handwritten digits: a tokenizer, then a class-conditional prior."""

from train.config import Log, Optimizer
from train.data import Data
from train.experiments import VQVAEExperiment
from train.tasks.prior import PriorStage
from train.tasks.vqvae import Codebook, VQVAEStage


def get_config() -> VQVAEExperiment:
  return VQVAEExperiment(
    name="digits",
    data=Data(source="digits"),
    tokenizer=VQVAEStage(
      steps=1000,
      batch_size=64,
      eval_every=250,
      checkpoint_every=250,
      optimizer=Optimizer(learning_rate=2e-3, schedule="cosine"),
      channels=32,
      residual_channels=32,
      codebook=Codebook(num_codes=32, dim=16),
    ),
    prior=PriorStage(
      steps=1000,
      batch_size=64,
      eval_every=100,
      checkpoint_every=100,
      optimizer=Optimizer(learning_rate=1e-3, schedule="cosine"),
      channels=64,
      num_layers=5,
      kernel_size=3,
      hidden=128,
      dropout=0.3,
      judge_size=8,
    ),
    log=Log(every=50),
  )
