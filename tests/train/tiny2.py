"""A small hierarchy on the digits, for tests: it has every part and learns next to nothing."""

import dataclasses

from train.codes.extract import ExtractStage
from train.codes.pixelsnail import PixelSNAILStage
from train.config import Experiment, Log
from train.images.sources import Digits
from train.images.vqvae import Codebook, VQVAE2Stage
from train.optimizer import Adam


def get_config() -> Experiment:
  lengths = {"steps": 8, "batch_size": 16, "eval_every": 4, "checkpoint_every": 4}
  optimizer = Adam(learning_rate=1e-3)
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
  return Experiment(
    name="tiny2",
    data=Digits(),
    stages={
      "tokenizer": VQVAE2Stage(
        **lengths,
        optimizer=optimizer,
        channels=8,
        residual_channels=4,
        num_residual_blocks=1,
        codebook=Codebook(num_codes=16, dim=4),
      ),
      "extract": ExtractStage(batch_size=8, shard_size=24),
      "top": top,
      "bottom": dataclasses.replace(top, attention=False, num_out_blocks=0),
    },
    log=Log(every=2),
  )
