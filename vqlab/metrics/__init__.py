"""Figures of merit as sums that merge over batches and devices, finalized once."""

from vqlab.metrics.codes import code_counts, perplexity, usage
from vqlab.metrics.images import psnr, squared_error
from vqlab.metrics.likelihood import bits_per_dim, negative_log_likelihood
from vqlab.metrics.sums import Total, across, mean, merge, total

__all__ = [
  "Total",
  "across",
  "bits_per_dim",
  "code_counts",
  "mean",
  "merge",
  "negative_log_likelihood",
  "perplexity",
  "psnr",
  "squared_error",
  "total",
  "usage",
]
