"""Networks that only judge: Inception-v3, small classifiers; the spectrograms that some read."""

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
from vqlab.features.sound import SoundClassifier
from vqlab.nn.spectrogram import frame_length, log_mel, mel_filters, spectrogram

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
  "SoundClassifier",
  "classification_accuracy_score",
  "classifier_accuracy",
  "default_optimizer",
  "few_shot",
  "fit_classifier",
  "fit_probe",
  "frame_length",
  "inception_images",
  "log_mel",
  "mel_filters",
  "score_probe",
  "spectrogram",
]
