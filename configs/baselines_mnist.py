"""MNIST by a VAE, VIMCO, Gumbel-softmax and a VQ-VAE: the same networks, bits a dimension.

    python -m train fit baselines_mnist --workdir runs/baselines-mnist --data.path FOLDER

FOLDER holds the four idx files. Section 4.1 of the VQ-VAE paper (arXiv 1711.00937), small enough
for two CPU cores: 7x7 latents, K = 32 where they are discrete; each byte a discretised logistic; a
PixelCNN learns the codes of the three that have codes.

Expected in bits a dimension, the VAE's bound below the VQ-VAE's, and that below VIMCO's where their
         codes are counted alike, as in the paper; VIMCO's own bound of 50 samples counts less.
Hardware two CPU cores, no accelerator.
Measured seed 0 (float32, 2,000 test images): VAE 1.616 by the ELBO, 1.588 by 50 samples; VIMCO
         1.740, 1.651, 1.875 with all codes alike, 1.698 by its prior; Gumbel-softmax 1.692, 1.633,
         1.837, 1.710; VQ-VAE 1.743 with all codes alike, 1.565 by its prior. 18 minutes beside
         other work on one of two cores, 11 of them VIMCO.
"""

from typing import Any

from train.config import Experiment, Log, Source
from train.images.categorical import GumbelStage, VIMCOStage
from train.images.prior import PriorStage
from train.images.sources import Idx
from train.images.vae import VAEStage
from train.images.vqvae import Codebook, VQVAEStage
from train.optimizer import Adam


def experiment(name: str, data: Source, **fields: Any) -> Experiment:
  """The four, and priors; `fields` of all four."""
  common = {
    "steps": 1200,
    "batch_size": 16,
    "eval_batch_size": 100,
    "eval_every": 600,
    "checkpoint_every": 600,
    "optimizer": Adam(learning_rate=1e-3, schedule="cosine"),
    "channels": 24,
    "residual_channels": 24,
    "likelihood": "logistic",
    **fields,
  }
  categorical = common | {"num_codes": 32, "code_dim": 16}
  prior = PriorStage(
    steps=1000,
    batch_size=32,
    eval_batch_size=100,
    eval_every=250,
    checkpoint_every=250,
    optimizer=Adam(learning_rate=2e-3, schedule="cosine"),
    class_conditional=False,
    channels=32,
    num_layers=4,
    kernel_size=3,
    hidden=64,
  )
  return Experiment(
    name=name,
    data=data,
    stages={
      "vae": VAEStage(**common),
      "vimco": VIMCOStage(**categorical),
      "vimco_prior": prior,
      "gumbel": GumbelStage(**categorical),
      "gumbel_prior": prior,
      "vqvae": VQVAEStage(**common, codebook=Codebook(num_codes=32, dim=16)),
      "vqvae_prior": prior,
    },
    log=Log(every=50),
  )


def get_config() -> Experiment:
  splits = {"train_split": "train[:59000]", "eval_split": "train[59000:]"}
  return experiment("baselines_mnist", Idx(path="data/mnist", **splits, test_split="test[:2000]"))
