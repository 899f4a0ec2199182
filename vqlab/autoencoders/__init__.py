"""Autoencoders, around codebooks and around groups, one module a paper."""

from vqlab.autoencoders import mlvae, vqvae, vqvae2

__all__ = ["mlvae", "vqvae", "vqvae2"]
