"""Autoencoders around codebooks, one module a paper."""

from vqlab.autoencoders import vqvae

__all__ = ["vqvae"]
