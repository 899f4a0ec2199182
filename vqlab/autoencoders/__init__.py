"""Autoencoders around codes (what these share is in discrete.py), groups, or plain latents."""

from vqlab.autoencoders import (
  categorical_vae,
  discrete,
  mlvae,
  vae,
  vqvae,
  vqvae2,
  vqvae_audio,
  vqvae_codes,
  vqvae_video,
)

__all__ = [
  "categorical_vae",
  "discrete",
  "mlvae",
  "vae",
  "vqvae",
  "vqvae2",
  "vqvae_audio",
  "vqvae_codes",
  "vqvae_video",
]
