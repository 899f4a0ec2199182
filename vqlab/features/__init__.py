"""Networks that only judge: Inception-v3, and small classifiers to train on the data at hand."""

from vqlab.features.accuracy_score import (
  AccuracyScore,
  Fitted,
  classification_accuracy_score,
  classifier_accuracy,
  default_optimizer,
  fit_classifier,
)
from vqlab.features.classifier import LinearClassifier, SmallClassifier
from vqlab.features.inception import InceptionOutput, InceptionV3, inception_images

__all__ = [
  "AccuracyScore",
  "Fitted",
  "InceptionOutput",
  "InceptionV3",
  "LinearClassifier",
  "SmallClassifier",
  "classification_accuracy_score",
  "classifier_accuracy",
  "default_optimizer",
  "fit_classifier",
  "inception_images",
]
