"""What needs a prior and a decoder: images through the levels, in-painting, rejection sampling.

    levels = (Level(top, top_params, (32, 32)), Level(bottom, bottom_params, (64, 64)))
    codes = sample_codes(key, levels, 16, labels=labels)                 # top, then bottom
    images, codes = sample_images(key, decode, levels, 16, labels=labels)
    images, codes = upsample(key, decode, levels, (top_codes,), labels=labels)
    images, codes = inpaint(key, decode, levels, codes, known, labels=labels)
    kept = keep_best(class_scores(logits, labels), labels, fraction=0.25)

`decode` takes the codes of all levels to images, such as

    decode = lambda codes: vqvae2.decode(model, params, codebooks, codes)
"""

from vqlab.generation.hierarchy import (
  Level,
  Sample,
  given_codes,
  inpaint,
  known_codes,
  sample_codes,
  sample_images,
  upsample,
)
from vqlab.generation.rejection import class_scores, keep_best, reject

__all__ = [
  "Level",
  "Sample",
  "class_scores",
  "given_codes",
  "inpaint",
  "keep_best",
  "known_codes",
  "reject",
  "sample_codes",
  "sample_images",
  "upsample",
]
