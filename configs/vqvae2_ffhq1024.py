"""VQ-VAE-2 on faces at 1024x1024 with the paper's values: 32x32, 64x64 and 128x128 codes, K = 512.

    python -m train fit vqvae2_ffhq1024 --workdir runs/ffhq1024 --data.path FFHQ

Needs a folder of images of 1024 pixels a side or more, such as FFHQ's (no classes). On several
hosts: the same command on each with --parallel.distributed True, the workdir on storage that all of
them mount.

Paper    Razavi, van den Oord, Vinyals 2019, arXiv 1906.00446. Tokenizer: its table of
         hyper-parameters, taken from a secondary account: batches of 128, 128 channels, 64 inside
         the residual blocks, 2 of them, D = 64, beta 0.25, 304,741 steps. The learning rate is that
         of rosinality/vq-vae-2-pytorch. Priors: widths, layers, attention, dropout, batches and
         lengths as they are reported of the paper's appendix, which we could not check; learning
         rate and its schedule are ours.
Expected faces like those of the paper; it gives no likelihoods for them that we know of.
Hardware the paper names none of its own; the batches of 1,024 ask for a pod. Steps' memory:
         `--dry_run`.
Measured not yet: no FFHQ was at hand. Its sizes are tested without compiling
         (tests/train/test_config.py); configs/vqvae2_small.py runs the same stages.
"""

import dataclasses

from train.codes.extract import ExtractStage
from train.codes.pixelsnail import PixelSNAILStage
from train.config import Experiment
from train.images.sources import Folder
from train.images.vqvae import Codebook, VQVAE2Stage
from train.optimizer import Adam


def get_config() -> Experiment:
  top = PixelSNAILStage(
    steps=237_000,
    batch_size=1024,
    eval_every=5_000,
    checkpoint_every=5_000,
    optimizer=Adam(learning_rate=3e-4, warmup_steps=5_000, schedule="cosine", clip_norm=1.0),
    channels=512,
    res_channels=2048,
    num_blocks=4,
    num_res_blocks=5,
    kernel_size=5,
    num_heads=8,
    num_out_blocks=0,
    class_conditional=False,  # subfolders, where there are any, are no classes
    dropout=0.5,
    dtype="bfloat16",
  )
  middle = dataclasses.replace(
    top,
    steps=57_400,
    batch_size=512,
    res_channels=1024,
    num_blocks=1,
    num_res_blocks=20,
    num_cond_blocks=8,
    cond_channels=512,
    dropout=0.3,
  )
  return Experiment(
    name="vqvae2_ffhq1024",
    data=Folder(path="ffhq", image_size=1024, channels=3, eval_fraction=0.05),
    stages={
      "tokenizer": VQVAE2Stage(
        steps=304_741,
        batch_size=128,
        eval_every=20_000,
        checkpoint_every=5_000,
        optimizer=Adam(learning_rate=3e-4),
        channels=128,
        residual_channels=64,
        num_residual_blocks=2,
        downsamples=(1, 1, 3),
        codebook=Codebook(num_codes=512, dim=64),
        beta=0.25,
      ),
      "extract": ExtractStage(batch_size=32),
      "top": top,
      "middle": middle,
      "bottom": dataclasses.replace(
        middle, steps=270_000, batch_size=256, num_res_blocks=10, attention=False, dropout=0.25
      ),
    },
  )
