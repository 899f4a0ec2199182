"""A small hierarchy on the digits, for tests: it has every part and learns next to nothing."""

import dataclasses

from train.config import Log, Optimizer
from train.data import Data
from train.experiments import VQVAE2Experiment
from train.tasks.extract import ExtractStage
from train.tasks.pixelsnail import PixelSNAILStage
from train.tasks.vqvae2 import Codebook, VQVAE2Stage


def get_config() -> VQVAE2Experiment:
  lengths = {"steps": 8, "batch_size": 16, "eval_every": 4, "checkpoint_every": 4}
  optimizer = Optimizer(learning_rate=1e-3)
  top = PixelSNAILStage(
    **lengths,
    optimizer=optimizer,
    channels=8,
    res_channels=8,
    num_blocks=1,
    num_res_blocks=1,
    kernel_size=3,
    num_heads=2,
    num_out_blocks=1,
    num_cond_blocks=1,
    cond_channels=8,
    dropout=0.2,
  )
  return VQVAE2Experiment(
    name="tiny2",
    data=Data(source="digits"),
    tokenizer=VQVAE2Stage(
      **lengths,
      optimizer=optimizer,
      channels=8,
      residual_channels=4,
      num_residual_blocks=1,
      codebook=Codebook(num_codes=16, dim=4),
    ),
    extract=ExtractStage(batch_size=8, shard_size=24),
    top=top,
    bottom=dataclasses.replace(top, attention=False, num_out_blocks=0),
    log=Log(every=2),
  )
