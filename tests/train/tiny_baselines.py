"""Small baselines of the VQ-VAE on the digits, for tests: they learn next to nothing."""

from train.config import Experiment, Log
from train.images.categorical import GumbelStage, VIMCOStage
from train.images.prior import PriorStage
from train.images.sources import Digits
from train.images.vae import VAEStage
from train.images.vqvae import Codebook, VQVAEStage
from train.optimizer import Adam


def get_config() -> Experiment:
  lengths = {"steps": 12, "batch_size": 16, "eval_every": 6, "checkpoint_every": 4}
  common = {
    **lengths,
    "optimizer": Adam(learning_rate=1e-3),
    "channels": 8,
    "residual_channels": 4,
    "num_residual_blocks": 1,
    "num_downsamples": 3,
    "likelihood": "logistic",
  }
  categorical = common | {"num_codes": 6, "code_dim": 4, "num_samples": 3}
  prior = PriorStage(
    **lengths, class_conditional=False, channels=8, num_layers=1, kernel_size=3, hidden=8
  )
  return Experiment(
    name="tiny_baselines",
    data=Digits(),
    stages={
      "vae": VAEStage(**common, num_samples=3),
      "vimco": VIMCOStage(**categorical),
      "vqvae": VQVAEStage(**common, codebook=Codebook(num_codes=6, dim=4)),
      "gumbel": GumbelStage(**categorical),
      "gumbel_prior": prior,
    },
    log=Log(every=2),
  )
