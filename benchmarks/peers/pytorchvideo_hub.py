"""pytorchvideo's networks, with random weights."""

import importlib
import sys
import types
import warnings

import torch


def network(name: str) -> torch.nn.Module:
  """`pytorchvideo.models.hub.NAME()`, without the softmax that X3D's head ends with."""
  return made("hub", name, pretrained=False)


def made(module: str, function: str, **options) -> torch.nn.Module:
  """What a function of a module of `pytorchvideo.models` makes, without softmax."""
  if "torchvision" not in sys.modules:
    # Its heads for detection import this, and nothing else of torchvision does it need.
    torchvision, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
    ops.RoIAlign, torchvision.ops = torch.nn.Module, ops
    sys.modules |= {"torchvision": torchvision, "torchvision.ops": ops}
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is older than what it needs
    models = importlib.import_module(f"pytorchvideo.models.{module}")
    found = getattr(models, function)(**options)
  found.blocks[-1].activation = None
  return found
