"""Losses: terms of the evidence lower bound."""

from vqlab.losses.elbo import Bernoulli, Gaussian, Likelihood, normal_kl

__all__ = ["Bernoulli", "Gaussian", "Likelihood", "normal_kl"]
