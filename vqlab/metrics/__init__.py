"""Figures of merit as sums that merge over batches and devices, finalized once."""

from vqlab.metrics.accuracy import accuracy
from vqlab.metrics.bootstrap import Difference, paired_difference
from vqlab.metrics.codes import code_counts, perplexity, unigram_entropy, usage
from vqlab.metrics.frechet import (
  FeatureSums,
  Frechet,
  Moments,
  feature_sums,
  frechet_distance,
  moments,
)
from vqlab.metrics.images import psnr, squared_error
from vqlab.metrics.inception_score import ClassSums, InceptionScore, class_sums, inception_score
from vqlab.metrics.likelihood import bits_per_dim, negative_log_likelihood, total_bits_per_dim
from vqlab.metrics.precision_recall import PrecisionRecall, precision_recall
from vqlab.metrics.ranking import rank_among, ranking, ranking_of_one, top_k
from vqlab.metrics.sound import decibels, log_spectral_distance, spectral_distance
from vqlab.metrics.sums import Total, across, mean, merge, total

__all__ = [
  "ClassSums",
  "Difference",
  "FeatureSums",
  "Frechet",
  "InceptionScore",
  "Moments",
  "PrecisionRecall",
  "Total",
  "accuracy",
  "across",
  "bits_per_dim",
  "class_sums",
  "code_counts",
  "decibels",
  "feature_sums",
  "frechet_distance",
  "inception_score",
  "log_spectral_distance",
  "mean",
  "merge",
  "moments",
  "negative_log_likelihood",
  "paired_difference",
  "perplexity",
  "precision_recall",
  "psnr",
  "rank_among",
  "ranking",
  "ranking_of_one",
  "spectral_distance",
  "squared_error",
  "top_k",
  "total",
  "total_bits_per_dim",
  "unigram_entropy",
  "usage",
]
