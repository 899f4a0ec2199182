"""Tones and glides made up on the spot: codes of sound, a prior, voices changed. Needs no data.

    python -m train fit tones --workdir runs/tones
    python -m train sample runs/tones --speaker flute --label rise

Four instruments each play six contours. The smallest of the experiments on sound, with all of their
parts: a VQ-VAE (arXiv 1711.00937, section 4.3) whose decoder is a WaveNet, a WaveNet over its
codes, classifiers, conversions and probes.

Expected the instrument asked for in most conversions, and contours that a picture shows.
Hardware two CPU cores, no accelerator.
Measured two cores, float32, seed 0: 4 min. 2.713 nats a sample; perplexity 101.9 of 128; 875 bits a
         second nominally, 390 by the prior. The contours show in the pictures, in both voices, but
         under noise: log-spectral distance of reconstructions 17.1 dB, of the mean spectrum 15.5.
         The instrument asked for is heard in 30 % of conversions, by chance 25, the contour in
         30.8 %, by chance 16.7; in reconstructions 30.0 % and 50.0 %: far from what is expected.
"""

import dataclasses

from configs import spoken_digits
from train.audio.sources import Tones
from train.config import Experiment

_LONGEST = 4096


def get_config() -> Experiment:
  """The networks of the spoken digits, smaller, for less long."""
  like = spoken_digits.get_config()
  lengths = {
    "tokenizer": {
      "steps": 1200,
      "eval_every": 400,
      "checkpoint_every": 400,
      "eval_window": _LONGEST,
      "channels": 48,
      "decoder_channels": 32,
      "num_layers": 12,
      "cycle": 6,
    },
    "prior": {"steps": 400, "eval_every": 50, "checkpoint_every": 50, "window": _LONGEST},
    "hears_speaker": {"steps": 100, "chunk": _LONGEST},
    "hears_digit": {"steps": 400, "eval_every": 100, "checkpoint_every": 100, "chunk": _LONGEST},
    "conversions": {"length": _LONGEST},
    "probes": {"length": _LONGEST, "steps": 500},
  }
  changed = {
    name: dataclasses.replace(like.stages[name], **fields) for name, fields in lengths.items()
  }
  changed["hears_contour"] = changed.pop("hears_digit")
  last = {name: changed.pop(name) for name in ("conversions", "probes")}
  return Experiment(name="tones", data=Tones(), stages=changed | last, log=like.log)
