"""Autoregressive priors over codes, and one sampler for all of them.

A prior is a Linen module over codes int32[B, T], [B, H, W] or [B, H, W, G] with K values each; of
videos [B, T, H, W]. In raster order the last axis is the fastest. It has the cache protocol that
`sample` needs:

    logits(codes, cond=None, *, train=False) -> [..., K]    teacher-forced; also `__call__`
    init_cache(shape, cond=None) -> cache                   an explicit pytree
    begin_frame(cache, codes, frame) -> cache               what is known once earlier frames are
    begin_row(cache, codes, row) -> cache                   what is known once the rows above are
    step(cache, codes, row, index) -> (cache, logits[B, K]) one code: `index` counts the row's

`step` at (row, index) gives what `logits` gives there, from the codes before it alone: a row has
W, or W * G, of them, and a sequence [B, T] is one row. Codes at or after it may hold anything.
A model over videos is one with `begin_frame`: its rows count on through the frames, row i of frame
t is t * H + i, and a frame none of whose rows is begun is one that was given.

    logits = model.apply({"params": params}, codes, labels)
    codes = sample(key, model, params, (16, 32, 32), cond=labels, temperature=0.9)
    nats = log_prob(model, params, codes, cond=labels)

`cond` is labels int[B]; `Conditions(labels, codes, features)` for a model that is conditioned on
the codes of levels above, or on features; a WaveNet's `SequenceConditions(labels, local)`; a
VideoPixelCNN's `VideoConditions(labels, actions)`. Where it is more than labels below
`num_classes`, the model has a method `cond_ranges(cond) -> [(name, integers, size), ...]`, by which
`sample` and `log_prob` refuse what is out of range.

    PixelCNN      gated; several codes a position; cheap. The VQ-VAE paper's prior
    PixelSNAIL    deeper, with attention, conditioned on upper levels. VQ-VAE-2's priors
    WaveNet       dilated convolutions over sequences: samples of sound, or codes. `stream` draws
                  its sequences a chunk at a time
    VideoPixelCNN a PixelCNN a frame, conditioned on the frames before and on actions
"""

from vqlab.priors.conditions import Conditions
from vqlab.priors.pixelcnn import PixelCNN
from vqlab.priors.pixelsnail import PixelSNAIL
from vqlab.priors.sampling import log_prob, sample, stream
from vqlab.priors.video import VideoConditions, VideoPixelCNN
from vqlab.priors.wavenet import SequenceConditions, WaveNet

__all__ = [
  "Conditions",
  "PixelCNN",
  "PixelSNAIL",
  "SequenceConditions",
  "VideoConditions",
  "VideoPixelCNN",
  "WaveNet",
  "log_prob",
  "sample",
  "stream",
]
