"""Autoencoders, around codes (what these share is in discrete.py) and around groups."""

from vqlab.autoencoders import discrete, mlvae, vqvae, vqvae2, vqvae_audio

__all__ = ["discrete", "mlvae", "vqvae", "vqvae2", "vqvae_audio"]
