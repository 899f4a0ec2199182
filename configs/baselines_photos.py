"""Tiles of photographs by a VAE, VIMCO, Gumbel-softmax and a VQ-VAE.

    python -m train fit baselines_photos --workdir runs/baselines-photos --data.path PHOTOS

PHOTOS is a folder of images of any sizes, a quarter of which is held out. They are cut into tiles
of 32x32, which overlap in training and do not when held out. See configs/baselines_mnist.py, whose
networks these are, with 8x8x2 latents.

Expected the same order as on MNIST.
Hardware two CPU cores, no accelerator.
Measured not yet at full length.
"""

from configs.baselines_mnist import experiment
from train.config import Experiment
from train.images.sources import Folder


def get_config() -> Experiment:
  data = Folder(path="photos", channels=3, eval_fraction=0.25, tile=32, tile_stride=16)
  return experiment("baselines_photos", data, batch_size=8, codes_per_position=2)
