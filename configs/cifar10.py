"""CIFAR-10 with the VQ-VAE paper's values: 8x8x10 latents, 250,000 steps of batch 128.

    python -m train fit cifar10 --workdir runs/cifar10

Needs CIFAR-10 as TFDS prepares it (`cifar10`, ArrayRecord) in $TFDS_DATA_DIR or --data.dir.

Paper    van den Oord, Vinyals, Kavukcuoglu 2017, arXiv 1711.00937, section 4.1: two strided 4x4
         convolutions and two residual 3x3 blocks of 256 units; K = 512; beta 0.25; Adam 2e-4. The
         codebook is trained by its loss, as theirs was ("not used for the experiments" is what the
         paper says of the EMA).
Expected 4.67 bits/dim in the paper (4.51 for a VAE, 5.14 for VIMCO), a lower bound on
         log p(x) that counts log p(x | codes) + log p(codes). Reports of others: about 5.05. The
         figures printed here are MSE, PSNR, and the codes' own rate, which is not that number.
Hardware the paper names none. The tokenizer's step: see `--dry_run`.
Measured not yet at full length: no CIFAR-10 was at hand. Its sizes, parameter counts and latents
         are tested without compiling (tests/train/test_config.py).
"""

from train.config import Experiment
from train.images.prior import PriorStage
from train.images.sources import Tfds
from train.images.vqvae import Codebook, VQVAEStage
from train.optimizer import Adam


def get_config() -> Experiment:
  return Experiment(
    name="cifar10",
    data=Tfds(name="cifar10"),
    stages={
      "tokenizer": VQVAEStage(
        steps=250_000,
        batch_size=128,
        eval_every=5_000,
        checkpoint_every=5_000,
        optimizer=Adam(learning_rate=2e-4),
        channels=256,
        residual_channels=256,
        num_residual_blocks=2,
        num_downsamples=2,
        codes_per_position=10,
        codebook=Codebook(num_codes=512, dim=64, update="gradient"),
        beta=0.25,
      ),
      "prior": PriorStage(
        steps=200_000,
        batch_size=128,
        eval_every=5_000,
        checkpoint_every=5_000,
        optimizer=Adam(learning_rate=3e-4, warmup_steps=1_000, schedule="cosine"),
        channels=256,
        num_layers=12,
        hidden=1024,
        dropout=0.1,
      ),
    },
  )
