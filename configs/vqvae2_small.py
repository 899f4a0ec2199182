"""VQ-VAE-2 on photographs, small enough for two CPU cores.

python -m train fit vqvae2_small --workdir runs/photos --data.path PHOTOS
"""

import dataclasses

from train.config import Log, Optimizer
from train.data import Data
from train.experiments import VQVAE2Experiment
from train.tasks.extract import ExtractStage
from train.tasks.pixelsnail import PixelSNAILStage
from train.tasks.vqvae2 import Codebook, VQVAE2Stage


def get_config() -> VQVAE2Experiment:
  prior = PixelSNAILStage(
    steps=1500,
    batch_size=32,
    eval_every=300,
    checkpoint_every=300,
    optimizer=Optimizer(learning_rate=1e-3, warmup_steps=50, schedule="cosine", clip_norm=1.0),
    channels=64,
    res_channels=64,
    num_blocks=2,
    num_res_blocks=2,
    num_heads=4,
    num_out_blocks=1,
    num_cond_blocks=2,
    cond_channels=64,
    dropout=0.1,
  )
  return VQVAE2Experiment(
    name="vqvae2_small",
    data=Data(
      source="folder", path="photos", channels=3, eval_fraction=0.25, tile=64, tile_stride=16
    ),
    tokenizer=VQVAE2Stage(
      steps=3000,
      batch_size=32,
      eval_every=500,
      checkpoint_every=500,
      optimizer=Optimizer(learning_rate=1e-3, warmup_steps=50, schedule="cosine"),
      channels=64,
      residual_channels=32,
      codebook=Codebook(num_codes=256, dim=32),
    ),
    extract=ExtractStage(batch_size=128, shard_size=1024),
    top=prior,
    bottom=dataclasses.replace(prior, steps=1200, attention=False, num_out_blocks=0),
    log=Log(every=50),
  )
