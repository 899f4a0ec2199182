"""vqlab: discrete and structured representation learning as pure functions in JAX."""

from vqlab import autoencoders, metrics, nn, priors, quantize

__all__ = ["autoencoders", "metrics", "nn", "priors", "quantize"]
