"""Unconditional speech: codes of LibriSpeech, 128x fewer than samples, and a WaveNet over them.

    python -m train fit librispeech_prior --workdir runs/librispeech --data.path LibriSpeech
    python -m train sample runs/librispeech --num 8

LibriSpeech is the folder with train-clean-100 and train-clean-360 (--data.parts for others).

Paper    van den Oord, Vinyals, Kavukcuoglu 2017, arXiv 1711.00937, section 4.3: 128x, chunks of
         40,960 samples (2.56 s at 16 kHz) of 320 codes, "460 speakers". (The two clean parts are
         460 hours, of 1,172 speakers by LibriSpeech's own list.) The prior is told of neither words
         nor speakers. Sizes of both networks, optimizers and lengths are not given.
Expected babble with words in it, in a voice that stays; the paper gives no figure.
Hardware the paper names none. The steps' memory: see `--dry_run`.
Measured not yet at full length: no LibriSpeech was at hand. Sizes and the 320 codes are tested
         without compiling (tests/train/audio/test_configs.py).
"""

from train.audio.prior import SpeechPriorStage
from train.audio.sources import LibriSpeech
from train.audio.vqvae import AudioVQVAEStage, Codebook
from train.config import Experiment
from train.optimizer import Adam


def get_config() -> Experiment:
  return Experiment(
    name="librispeech_prior",
    data=LibriSpeech(path="data/LibriSpeech", rate=16_000),
    stages={
      "tokenizer": AudioVQVAEStage(
        steps=500_000,
        batch_size=32,
        eval_every=10_000,
        checkpoint_every=5_000,
        optimizer=Adam(learning_rate=2e-4),
        average=0.9999,
        window=7_680,
        eval_window=40_960,
        strides=(2,) * 7,
        codebook=Codebook(num_codes=512, dim=64, update="gradient"),
        beta=0.25,
      ),
      "prior": SpeechPriorStage(
        steps=500_000,
        batch_size=128,
        eval_every=10_000,
        checkpoint_every=5_000,
        optimizer=Adam(learning_rate=3e-4, warmup_steps=1_000, schedule="cosine"),
        window=40_960,
        speaker_conditional=False,
        class_conditional=False,
        channels=256,
        num_layers=24,
        cycle=8,
        dropout=0.1,
      ),
    },
  )
