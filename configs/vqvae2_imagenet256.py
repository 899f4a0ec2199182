"""VQ-VAE-2 on ImageNet at 256x256 with the paper's values: 32x32 and 64x64 codes, K = 512.

    python -m train fit vqvae2_imagenet256 --workdir runs/imagenet256

On several hosts: the same command on each with --parallel.distributed True, the workdir on storage
that all of them mount.

Needs ImageNet as TFDS prepares it (`imagenet2012`, ArrayRecord) in $TFDS_DATA_DIR or --data.dir, or
any folder of images, classes by subfolder (--data Folder --data.path PHOTOS).

Paper    Razavi, van den Oord, Vinyals 2019, arXiv 1906.00446. Tokenizer: its table of
         hyper-parameters, taken from a secondary account: batches of 128, 128 channels, 64 inside
         the residual blocks, 2 of them, D = 64, beta 0.25, 2,207,444 steps. The learning rate is
         that of rosinality/vq-vae-2-pytorch. Priors: 20 layers in 4 groups, each with attention at
         the top, none at the bottom; widths, dropout, batches and lengths as they are reported of
         the paper's appendix, which we could not check; learning rate and its schedule are ours.
Expected the paper's figures, in nats a code: top 3.41 and bottom 3.45 held out (reported, not
         checked), which is 0.13 bits a dimension in all.
Hardware the paper names none of its own; the batches of 1,024 ask for a pod. Steps' memory:
         `--dry_run`.
Measured not yet: no ImageNet was at hand. Its sizes are tested without compiling
         (tests/train/test_config.py); configs/vqvae2_small.py runs the same stages.
"""

import dataclasses

from train.codes.extract import ExtractStage
from train.codes.pixelsnail import PixelSNAILStage
from train.config import Experiment
from train.images.sources import Tfds
from train.images.vqvae import Codebook, VQVAE2Stage
from train.optimizer import Adam


def get_config() -> Experiment:
  top = PixelSNAILStage(
    steps=1_600_000,
    batch_size=1024,
    eval_every=20_000,
    checkpoint_every=5_000,
    optimizer=Adam(learning_rate=3e-4, warmup_steps=5_000, schedule="cosine", clip_norm=1.0),
    channels=512,
    res_channels=2048,
    num_blocks=4,
    num_res_blocks=5,
    kernel_size=5,
    num_heads=8,
    num_out_blocks=20,
    dropout=0.1,
    dtype="bfloat16",
  )
  return Experiment(
    name="vqvae2_imagenet256",
    data=Tfds(name="imagenet2012", image_size=256, channels=3),
    stages={
      "tokenizer": VQVAE2Stage(
        steps=2_207_444,
        batch_size=128,
        eval_every=20_000,
        checkpoint_every=5_000,
        optimizer=Adam(learning_rate=3e-4),
        channels=128,
        residual_channels=64,
        num_residual_blocks=2,
        downsamples=(1, 2),
        codebook=Codebook(num_codes=512, dim=64),
        beta=0.25,
      ),
      "extract": ExtractStage(batch_size=256),
      "top": top,
      "bottom": dataclasses.replace(
        top,
        steps=754_000,
        batch_size=512,
        res_channels=1024,
        attention=False,
        num_out_blocks=0,
        num_cond_blocks=20,
        cond_channels=512,
      ),
    },
  )
