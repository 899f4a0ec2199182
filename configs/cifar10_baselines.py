"""CIFAR-10 by a VAE, VIMCO, Gumbel-softmax and a VQ-VAE, with the VQ-VAE paper's values.

    python -m train fit cifar10_baselines --workdir runs/cifar10-baselines

Needs CIFAR-10 as TFDS prepares it (`cifar10`, ArrayRecord) in $TFDS_DATA_DIR or --data.dir. Four
models in turn and a prior for each of the three with codes; one of them alone: a config file of
your own with fewer stages, or `--vimco.steps 1`, and so on.

Paper    van den Oord, Vinyals, Kavukcuoglu 2017, arXiv 1711.00937, section 4.1: 8x8x10 latents,
         continuous or discrete (K = 512), the same encoder and decoder, 250,000 steps of batch 128,
         Adam 2e-4, 50 samples for VIMCO. It has no Gumbel-softmax, and does not say how a pixel is
         distributed: here by a discretised logistic.
Expected in the paper 4.51 bits a dimension for the VAE, 4.67 for the VQ-VAE, 5.14 for VIMCO, lower
         bounds of log p(x) in it; reports of others for the VQ-VAE: about 5.05. Compare them with
         `image_bits_elbo`, `image_bits_uniform` and `image_bits_bound` (docs/baselines.md).
Hardware the paper names none. VIMCO decodes 50 samples of each of 128 images a step: `--dry_run`
         says what that takes, `--vimco.accumulate` makes it less.
Measured not yet at full length: no CIFAR-10 was at hand. Sizes and networks are tested without
         compiling (tests/train/images/test_baselines.py).
"""

import dataclasses

from configs import cifar10
from train.config import Experiment
from train.images.categorical import GumbelStage, VIMCOStage
from train.images.vae import VAEStage


def get_config() -> Experiment:
  base = cifar10.get_config()
  vqvae = dataclasses.replace(base.stages["tokenizer"], likelihood="logistic")
  prior = dataclasses.replace(base.stages["prior"], class_conditional=False)
  names = ("steps", "batch_size", "eval_every", "checkpoint_every", "optimizer", "channels")
  names += ("residual_channels", "num_residual_blocks", "num_downsamples", "codes_per_position")
  common = {name: getattr(vqvae, name) for name in names} | {"num_samples": 50}
  categorical = common | {"num_codes": 512, "code_dim": 64}
  return Experiment(
    name="cifar10_baselines",
    data=base.data,
    stages={
      "vae": VAEStage(**common),
      "vimco": VIMCOStage(**categorical, accumulate=16, eval_batch_size=8),
      "vimco_prior": prior,
      "gumbel": GumbelStage(**categorical),
      "gumbel_prior": prior,
      "vqvae": vqvae,
      "vqvae_prior": prior,
    },
  )
