"""vqlab: discrete and structured representation learning as pure functions in JAX."""

from vqlab import (
  autoencoders,
  features,
  generation,
  graph,
  interop,
  losses,
  metrics,
  nn,
  priors,
  quantize,
)

__version__ = "0.1.0"

__all__ = [
  "autoencoders",
  "features",
  "generation",
  "graph",
  "interop",
  "losses",
  "metrics",
  "nn",
  "priors",
  "quantize",
]
