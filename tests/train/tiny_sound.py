"""A small experiment on made-up tones, for tests: it has every part and learns next to nothing."""

from train.audio.classify import SoundClassifierStage
from train.audio.converting import ConversionStage
from train.audio.prior import SpeechPriorStage
from train.audio.probing import ProbeStage
from train.audio.sources import Tones
from train.audio.vqvae import AudioVQVAEStage, Codebook
from train.config import Experiment, Log
from train.optimizer import Adam, Muon


def get_config() -> Experiment:
  lengths = {"steps": 12, "batch_size": 16, "eval_every": 6, "checkpoint_every": 4}
  lengths |= {"optimizer": Adam(learning_rate=1e-3)}
  judge = {"widths": (8, 8), "blocks": 1, "num_mels": 8}
  small = {"skip_channels": 8, "hidden": 16, "num_layers": 3, "cycle": 3}
  return Experiment(
    name="tiny_sound",
    data=Tones(speakers=2, copies=4, seconds=0.2),
    stages={
      "tokenizer": AudioVQVAEStage(
        **lengths | {"optimizer": Muon(learning_rate=0.01)},
        window=256,
        strange_past=0.5,
        eval_window=512,
        strides=(2, 4, 4),
        channels=8,
        residual_channels=4,
        num_residual_blocks=1,
        local_features=4,
        num_local_blocks=1,
        decoder_channels=6,
        codebook=Codebook(num_codes=16, dim=4),
        **small,
      ),
      "prior": SpeechPriorStage(
        **lengths, window=1024, whole=True, channels=8, dropout=0.2, **small
      ),
      "hears": SoundClassifierStage(**lengths, hears="speaker", chunk=1024, **judge),
      "conversions": ConversionStage(length=1024),
      "probes": ProbeStage(length=1024, num_mels=8, steps=20),
    },
    log=Log(every=2),
  )
