"""Tones and glides made up on the spot: codes of sound, a prior, voices changed. Needs no data.

    python -m train fit tones --workdir runs/tones
    python -m train sample runs/tones --speaker flute --label rise

Four instruments each play six contours. The smallest of the experiments on sound, with all of their
parts: a VQ-VAE (arXiv 1711.00937, section 4.3) whose decoder is a WaveNet, a WaveNet over its
codes, classifiers, conversions and probes.

Expected the instrument asked for in most conversions, and contours that a picture shows.
Hardware two CPU cores, no accelerator.
Measured two cores, float32, seed 0: 6 min 16 s, tokenizer 283 s. 2.785 nats a sample; perplexity
         96.1 of 128; 875 bits a second nominally, 320 by the prior. Log-spectral distance of
         reconstructions 11.26 dB, of the mean spectrum 12.59. The instrument asked for is heard in
         69.2 % of conversions, by chance 25, the contour in 69.2 %, by chance 16.7; in
         reconstructions 96.7 % and 84.2 %, in the originals 100 % both. The pictures show harmonics
         and contours in both voices, under noise, with bursts; the horn's harmonics hardly.
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
      "steps": 3000,
      "eval_every": 500,
      "checkpoint_every": 500,
      "eval_window": _LONGEST,
      "channels": 48,
      "decoder_channels": 32,
      "num_layers": 12,
      "cycle": 6,
    },
    "prior": {"steps": 400, "eval_every": 50, "checkpoint_every": 50, "window": _LONGEST},
    "hears_speaker": {"steps": 200, "chunk": _LONGEST},
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
