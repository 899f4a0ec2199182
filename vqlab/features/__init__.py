"""Networks that only judge: Inception-v3, and small classifiers to train on the data at hand."""

from vqlab.features.accuracy_score import (
  AccuracyScore,
  Fitted,
  classification_accuracy_score,
  classifier_accuracy,
  default_optimizer,
  fit_classifier,
)
from vqlab.features.classifier import LinearClassifier, MLPClassifier, SmallClassifier
from vqlab.features.inception import InceptionOutput, InceptionV3, inception_images
from vqlab.features.probe import FewShot, FittedProbe, ProbeScore, few_shot, fit_probe, score_probe

__all__ = [
  "AccuracyScore",
  "FewShot",
  "Fitted",
  "FittedProbe",
  "InceptionOutput",
  "InceptionV3",
  "LinearClassifier",
  "MLPClassifier",
  "ProbeScore",
  "SmallClassifier",
  "classification_accuracy_score",
  "classifier_accuracy",
  "default_optimizer",
  "few_shot",
  "fit_classifier",
  "fit_probe",
  "inception_images",
  "score_probe",
]
