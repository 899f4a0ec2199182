"""Spoken digits: codes that hold the words, and voices that can be changed.

    python -m train fit spoken_digits --workdir runs/spoken --data.path FOLDER
    python -m train convert runs/spoken SPEECH.wav --speaker jackson
    python -m train sample runs/spoken --label 7 --num 8

FOLDER holds files such as 7_jackson_32.wav of the Free Spoken Digit Dataset: 8 kHz, a word each. A
VQ-VAE (arXiv 1711.00937, section 4.3) with 64x fewer codes than samples, K = 128, by EMA, whose
decoder is a WaveNet that is told the speaker; a WaveNet over its codes, by the speaker and the
digit. Then classifiers that have heard real speech alone judge what the decoder says, held-out
utterances in their own voice and in another's, and linear probes say what codes know.

Expected conversions in which the target speaker is heard in at least 80 %, the digit in 70 %.
Hardware two CPU cores, no accelerator.
Measured on the Free Spoken Digit Dataset of four speakers (2,000 utterances, 200 of them held out),
         two cores, float32, seed 0: 42 min, tokenizer 2066 s, prior 210 s. 2.556 nats a held-out
         sample; perplexity 115.5 of 128; 875 bits a second nominally, 349 by the prior.
         Log-spectral distance of reconstructions 8.16 dB, of the mean spectrum 12.19, of a mu law
         at as many bits 19.66. The target speaker is heard in 61.5 % of conversions, the digit in
         63.0 %; in reconstructions 92.0 % and 93.0 %, in real speech 96.0 % and 98.5 %: conversions
         are below what is expected. More, and what codes know: docs/sound.md.
"""

from train.audio.classify import SoundClassifierStage
from train.audio.converting import ConversionStage
from train.audio.prior import SpeechPriorStage
from train.audio.probing import ProbeStage
from train.audio.sources import AudioFolder
from train.audio.vqvae import AudioVQVAEStage, Codebook
from train.config import Experiment, Log
from train.optimizer import Adam, Muon


def get_config() -> Experiment:
  longest = 8192
  return Experiment(
    name="spoken_digits",
    data=AudioFolder(
      path="data/fsdd",
      rate=8000,
      pattern="{label}_{speaker}_{index}",
      eval_fraction=0.05,
      test_fraction=0.1,
    ),
    stages={
      "tokenizer": AudioVQVAEStage(
        steps=13_500,
        batch_size=16,
        eval_batch_size=20,
        eval_every=2_000,
        checkpoint_every=1_000,
        optimizer=Muon(learning_rate=0.01, warmup_steps=300, schedule="cosine", clip_norm=1.0),
        window=640,
        eval_window=longest,
        strange_past=0.5,
        strides=(2,) * 6,
        channels=64,
        residual_channels=64,
        num_residual_blocks=2,
        codebook=Codebook(num_codes=128, dim=64),
        local_features=64,
        num_local_blocks=4,
        decoder_channels=48,
        skip_channels=64,
        hidden=128,
        num_layers=16,
        cycle=8,
      ),
      "prior": SpeechPriorStage(
        steps=1500,
        batch_size=32,
        eval_every=150,
        checkpoint_every=150,
        optimizer=Adam(learning_rate=1e-3, warmup_steps=50, schedule="cosine"),
        window=longest,
        whole=True,
        channels=64,
        skip_channels=128,
        hidden=128,
        num_layers=14,
        cycle=7,
        dropout=0.2,
      ),
      "hears_speaker": SoundClassifierStage(
        steps=300,
        batch_size=32,
        eval_every=100,
        checkpoint_every=100,
        optimizer=Adam(learning_rate=3e-3, warmup_steps=20, schedule="cosine"),
        hears="speaker",
        chunk=longest,
        hop=128,
        widths=(16, 32),
        blocks=1,
      ),
      "hears_digit": SoundClassifierStage(
        steps=2000,
        batch_size=32,
        eval_every=400,
        checkpoint_every=400,
        optimizer=Adam(learning_rate=1e-3, warmup_steps=50, schedule="cosine"),
        hears="label",
        chunk=longest,
        hop=128,
        num_mels=32,
        widths=(16, 32, 64),
        blocks=1,
      ),
      "conversions": ConversionStage(length=longest),
      "probes": ProbeStage(length=longest),
    },
    log=Log(every=100),
  )
