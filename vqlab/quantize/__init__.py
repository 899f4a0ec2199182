"""Codebooks: lookup, gradient estimators, losses and the transforms that train them.

    state  = quantize.init(key, num_codes=512, dim=64)
    update = quantize.chain(quantize.ema(0.99), quantize.revive(threshold=0.01))
    out, state, stats = quantize.quantize_and_update(z, state, key, update=update)

or, each on its own,

    out    = quantize.quantize(z, state.codebook)
    stats  = quantize.assignment_stats(z, out.indices, num_codes=512, key=key, num_candidates=512)
    state  = update(state, stats, key)

A codebook trained by gradients is a leaf of your `params`, passed to the same `quantize`, with
`codebook_loss` in the objective.

All of it works under `jit` over meshes with Auto axes, `vmap`, `shard_map` and `pmap`; on a mesh
with Explicit axes wrap the calls in `jax.sharding.auto_axes`.
"""

from vqlab.metrics.codes import perplexity
from vqlab.quantize.codebook import AssignmentStats, CodebookState, assignment_stats, init
from vqlab.quantize.estimators import Estimator, straight_through
from vqlab.quantize.losses import codebook_loss, commitment_loss
from vqlab.quantize.nearest import Quantized, assign, lookup, quantize
from vqlab.quantize.step import Step, quantize_and_update
from vqlab.quantize.transforms import Transform, chain, ema, revive

__all__ = [
  "AssignmentStats",
  "CodebookState",
  "Estimator",
  "Quantized",
  "Step",
  "Transform",
  "assign",
  "assignment_stats",
  "chain",
  "codebook_loss",
  "commitment_loss",
  "ema",
  "init",
  "lookup",
  "perplexity",
  "quantize",
  "quantize_and_update",
  "revive",
  "straight_through",
]
