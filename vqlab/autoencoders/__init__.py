"""Autoencoders around codebooks, one module a paper."""

from vqlab.autoencoders import vqvae, vqvae2

__all__ = ["vqvae", "vqvae2"]
