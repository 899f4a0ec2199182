"""VCTK with the VQ-VAE paper's values: 64x fewer codes than samples, K = 512, voices to change.

    python -m train fit vctk --workdir runs/vctk --data.path VCTK-Corpus
    python -m train convert runs/vctk SPEECH.wav --speaker p225

VCTK-Corpus is the corpus as it is unpacked, of version 0.80 or 0.92. Sounds are brought to 16 kHz.

Paper    van den Oord, Vinyals, Kavukcuoglu 2017, arXiv 1711.00937, section 4.3: 109 speakers; six
         convolutions of stride 2 and window 4, one map of codes, K = 512; a dilated decoder like
         WaveNet's, told the codes and a one-hot speaker. Sizes of the decoder, the
         optimizer, window and length are not given: those here are WaveNet's usual three cycles of
         dilations 1 to 512 with 256 channels, and the optimizer of the paper's CIFAR-10 model.
Expected speech of the same words in a voice of one's choice; the paper gives no figure for VCTK.
Hardware the paper names none. A step's memory by `--dry_run`: 51,185 MiB, on one device.
Measured not yet at full length: no VCTK was at hand. Sizes, costs and receptive field are tested
         without compiling (tests/train/audio/test_configs.py) and stated in docs/sound.md.
"""

from train.audio.sources import Vctk
from train.audio.vqvae import AudioVQVAEStage, Codebook
from train.config import Experiment
from train.optimizer import Adam


def get_config() -> Experiment:
  return Experiment(
    name="vctk",
    data=Vctk(path="data/VCTK-Corpus", rate=16_000, trim_db=40.0),
    stages={
      "tokenizer": AudioVQVAEStage(
        steps=500_000,
        batch_size=32,
        eval_every=10_000,
        checkpoint_every=5_000,
        optimizer=Adam(learning_rate=2e-4),
        average=0.9999,
        window=7_680,
        eval_window=16_000,
        strides=(2,) * 6,
        codebook=Codebook(num_codes=512, dim=64, update="gradient"),
        beta=0.25,
        decoder_channels=256,
        num_layers=30,
        cycle=10,
      ),
    },
  )
