"""Autoregressive priors over codes, and one sampler for all of them.

A prior is a Linen module over codes int32[B, T], [B, H, W] or [B, H, W, G] with K values each. In
raster order the last axis is the fastest. It has the cache protocol that `sample` needs:

    logits(codes, cond=None, *, train=False) -> [..., K]    teacher-forced; also `__call__`
    init_cache(shape, cond=None) -> cache                   an explicit pytree
    begin_row(cache, codes, row) -> cache                   what is known once the rows above are
    step(cache, codes, row, index) -> (cache, logits[B, K]) one code: `index` counts the row's

`step` at (row, index) gives what `logits` gives there, from the codes before it alone: a row has
W, or W * G, of them, and a sequence [B, T] is one row. Codes at or after it may hold anything.

    logits = model.apply({"params": params}, codes, labels)
    codes = sample(key, model, params, (16, 32, 32), cond=labels, temperature=0.9)
    nats = log_prob(model, params, codes, cond=labels)
"""

from vqlab.priors.conditions import Conditions
from vqlab.priors.pixelcnn import PixelCNN
from vqlab.priors.sampling import log_prob, sample

__all__ = ["Conditions", "PixelCNN", "log_prob", "sample"]
