"""Weights that others published, read as arrays without their framework; nothing is executed."""

from train.weights.reading import read

__all__ = ["read"]
