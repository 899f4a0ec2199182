"""Reads config.json as version 0.1 wrote it, when every experiment was of images."""

import dataclasses
from typing import Any

from train.codes.extract import ExtractStage
from train.codes.pixelsnail import PixelSNAILStage
from train.codes.tokenizer import Codebook
from train.config import Experiment, Log, Parallel
from train.errors import BadInput
from train.images.classify import ClassifierStage
from train.images.mlvae import MLVAEStage
from train.images.prior import PriorStage
from train.images.sources import Digits, Folder, Idx, Omniglot, Tfds
from train.images.vqvae import VQVAE2Stage, VQVAEStage
from train.optimizer import Adam, AdamW

_SOURCES = {"digits": Digits, "idx": Idx, "folder": Folder, "omniglot": Omniglot, "tfds": Tfds}
_STAGES = {"extract": ExtractStage, "classifier": ClassifierStage, "mlvae": MLVAEStage}


def converted(saved: dict[str, Any], source: str) -> dict[str, Any]:
  """What `config_file.saved` would have written.

  Raises:
    BadInput: the file `source` is damaged.
  """
  try:
    old, hierarchy = dict(saved["config"]), saved["kind"].startswith("VQVAE2")
    data, log, parallel = (dict(old.pop(part)) for part in ("data", "log", "parallel"))
    config = {
      "class": _tag(Experiment),
      "name": old.pop("name"),
      "seed": old.pop("seed"),
      "data": _fitting(_SOURCES[data.pop("source")], data),
      "log": _fitting(Log, log),
      "parallel": _fitting(Parallel, parallel),
      "stages": {name: _stage(name, fields, hierarchy) for name, fields in old.items()},
    }
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise BadInput(f"{source} is damaged: {error!r}") from None
  return {"config_file": None, "config": config}


def _stage(name: str, fields: dict[str, Any], hierarchy: bool) -> dict[str, Any]:
  prior = PixelSNAILStage if hierarchy else PriorStage
  tokenizer = VQVAE2Stage if hierarchy else VQVAEStage
  kind = _STAGES.get(name, tokenizer if name == "tokenizer" else prior)
  fields = dict(fields)
  if optimizer := fields.pop("optimizer", None):
    decays = AdamW if optimizer["weight_decay"] else Adam
    fields["optimizer"] = _fitting(decays, optimizer)
  if codebook := fields.pop("codebook", None):
    fields["codebook"] = _fitting(Codebook, codebook)
  return {"class": _tag(kind), **fields}


def _fitting(kind: type, fields: dict[str, Any]) -> dict[str, Any]:
  """Of the fields those that the class has."""
  known = {f.name for f in dataclasses.fields(kind)}
  return {"class": _tag(kind), **{k: v for k, v in fields.items() if k in known}}


def _tag(kind: type) -> str:
  return f"{kind.__module__}:{kind.__qualname__}"
