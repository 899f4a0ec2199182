"""ImageNet at 128x128 with the VQ-VAE paper's values: 32x32x1 latents, K = 512.

    python -m train fit imagenet128 --workdir runs/imagenet128
    python -m train fit imagenet128 --workdir runs/photos --data Folder --data.path PHOTOS

On several hosts: the same command on each with --parallel.distributed True, the workdir on storage
that all of them mount.

Needs ImageNet as TFDS prepares it (`imagenet2012`, ArrayRecord) in $TFDS_DATA_DIR or --data.dir, or
any folder of images, classes by subfolder.

Paper    van den Oord, Vinyals, Kavukcuoglu 2017, arXiv 1711.00937, section 4.2: 128x128x3 images to
         32x32x1 codes, 42.6 times fewer bits; squared error; a PixelCNN prior. Network, optimizer
         and length are those of its CIFAR-10 model, as the paper gives no others.
Expected reconstructions a little blurrier than the originals; the paper gives no figure.
Hardware the paper names none. The tokenizer's step: see `--dry_run`.
Measured not yet at full length: no ImageNet was at hand. Its sizes, parameter counts and latents
         are tested without compiling (tests/train/test_config.py).
"""

from train.config import Experiment
from train.images.prior import PriorStage
from train.images.sources import Tfds
from train.images.vqvae import Codebook, VQVAEStage
from train.optimizer import Adam


def get_config() -> Experiment:
  return Experiment(
    name="imagenet128",
    data=Tfds(name="imagenet2012", image_size=128, channels=3),
    stages={
      "tokenizer": VQVAEStage(
        steps=250_000,
        batch_size=128,
        eval_every=10_000,
        checkpoint_every=5_000,
        optimizer=Adam(learning_rate=2e-4),
        channels=256,
        residual_channels=256,
        num_residual_blocks=2,
        num_downsamples=2,
        codes_per_position=1,
        codebook=Codebook(num_codes=512, dim=64, update="gradient"),
        beta=0.25,
      ),
      "prior": PriorStage(
        steps=500_000,
        batch_size=128,
        eval_every=10_000,
        checkpoint_every=5_000,
        optimizer=Adam(learning_rate=3e-4, warmup_steps=1_000, schedule="cosine"),
        channels=256,
        num_layers=20,
        hidden=1024,
        dropout=0.1,
      ),
    },
  )
