"""Frames of small moving digits, for tests: a tokenizer and a prior that learn next to nothing."""

from train.config import Experiment, Log
from train.optimizer import Adam
from train.video.prior import FramePriorStage
from train.video.sources import MovingDigits
from train.video.vqvae import Codebook, VideoVQVAEStage


def get_config() -> Experiment:
  lengths = {"steps": 12, "batch_size": 8, "eval_batch_size": 240, "eval_every": 6}
  common = lengths | {"checkpoint_every": 4, "optimizer": Adam(learning_rate=1e-3), "channels": 8}
  return Experiment(
    name="tiny_frames",
    data=MovingDigits(length=5, copies=1),
    stages={
      "tokenizer": VideoVQVAEStage(
        **common,
        frames=5,
        time_kernel=2,
        residual_channels=4,
        num_residual_blocks=1,
        codebook=Codebook(num_codes=8, dim=4),
      ),
      "prior": FramePriorStage(
        **common,
        given=3,
        window=2,
        num_encoder_blocks=1,
        num_context_blocks=1,
        num_heads=2,
        num_layers=1,
        kernel_size=3,
        hidden=8,
        judged=20,
      ),
    },
    log=Log(every=2),
  )
