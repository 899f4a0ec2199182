"""Networks for clips as parts of a config."""

import dataclasses
from typing import Any, Literal

from flax import linen as nn

from train.fields import field
from vqlab import video
from vqlab.interop.video import LAYOUTS


@dataclasses.dataclass(frozen=True)
class Network:
  """What every network has."""

  dropout: float = field(0.5, least=0, most=0.999)
  """Rate before the classifier."""
  head: Literal["global", "dense"] = field("global")
  """What clips larger than those of training are judged by: the logits' mean over windows, or each
  window on its own (PySlowFast's)."""

  def make(self, num_classes: int, **fields: Any) -> nn.Module:
    """The module, with the fields that all networks of `vqlab.video` have.

    Raises:
      ValueError: there is none.
    """
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Named(Network):
  """A network of `vqlab.video` as it was published."""

  name: str = field("x3d_s")
  """As `python -m train models` lists it."""
  layout: str = field("")
  """The project whose variant of it this is, as imported weights of it need; empty: vqlab's."""

  def make(self, num_classes: int, **fields: Any) -> nn.Module:
    variants = {layout.project: layout.fields for layout in LAYOUTS.get(self.name, ())}
    if self.layout and self.layout not in variants:
      known = ", ".join(variants) or "none"
      raise ValueError(f"network.layout is {self.layout!r}; of {self.name} there are {known}")
    fields = variants.get(self.layout, {}) | {"dropout": self.dropout} | fields
    return video.create(self.name, num_classes, **fields)
