"""A small experiment on the digits, for tests: it has every part and learns next to nothing."""

from train.config import Experiment, Log
from train.images.prior import PriorStage
from train.images.sources import Digits
from train.images.vqvae import Codebook, VQVAEStage
from train.optimizer import Adam


def get_config() -> Experiment:
  lengths = {"steps": 12, "batch_size": 16, "eval_every": 6, "checkpoint_every": 4}
  optimizer = Adam(learning_rate=1e-3)
  return Experiment(
    name="tiny",
    data=Digits(),
    stages={
      "tokenizer": VQVAEStage(
        **lengths,
        optimizer=optimizer,
        channels=8,
        residual_channels=4,
        num_residual_blocks=1,
        num_downsamples=3,
        codebook=Codebook(num_codes=16, dim=4),
      ),
      "prior": PriorStage(
        **lengths,
        optimizer=optimizer,
        channels=8,
        num_layers=2,
        kernel_size=3,
        hidden=16,
        dropout=0.2,
        judge_size=8,
        judge_samples=20,
      ),
    },
    log=Log(every=2),
  )
