"""Losses: margin losses, their forms and reductions; contrast and ranking; likelihoods and bounds.

    loss = losses.LogitMarginLoss()
    losses.reduce(loss(scores, targets))     # targets -1 or 1; from_labels01 maps {0, 1} to them

docs/margin_losses.md has their formulas, errors, traits, times and pictures.
"""

from vqlab.losses.contrastive import in_batch_info_nce, info_nce
from vqlab.losses.elbo import Bernoulli, Gaussian, Likelihood, normal_kl
from vqlab.losses.margin import (
  DWDMarginLoss,
  ExpLoss,
  HingeLoss,
  L1HingeLoss,
  L2HingeLoss,
  L2MarginLoss,
  LogitMarginLoss,
  ModifiedHuberLoss,
  PerceptronLoss,
  SigmoidLoss,
  SmoothedL1HingeLoss,
  ZeroOneLoss,
)
from vqlab.losses.margin_forms import WeightedLoss, crammer_singer, one_vs_rest, pairwise, weighted
from vqlab.losses.margin_loss import MarginLoss, ScaledLoss
from vqlab.losses.multisample import multisample_bound, vimco
from vqlab.losses.pixels import ByteLikelihood, CategoricalBytes, DiscretizedLogistic
from vqlab.losses.ranking import cosine_contrastive, sampled_softmax
from vqlab.losses.reduction import reduce
from vqlab.losses.targets import from_labels01

__all__ = [
  "Bernoulli",
  "ByteLikelihood",
  "CategoricalBytes",
  "DWDMarginLoss",
  "DiscretizedLogistic",
  "ExpLoss",
  "Gaussian",
  "HingeLoss",
  "L1HingeLoss",
  "L2HingeLoss",
  "L2MarginLoss",
  "Likelihood",
  "LogitMarginLoss",
  "MarginLoss",
  "ModifiedHuberLoss",
  "PerceptronLoss",
  "ScaledLoss",
  "SigmoidLoss",
  "SmoothedL1HingeLoss",
  "WeightedLoss",
  "ZeroOneLoss",
  "cosine_contrastive",
  "crammer_singer",
  "from_labels01",
  "in_batch_info_nce",
  "info_nce",
  "multisample_bound",
  "normal_kl",
  "one_vs_rest",
  "pairwise",
  "reduce",
  "sampled_softmax",
  "vimco",
  "weighted",
]
