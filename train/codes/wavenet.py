"""What every WaveNet over codes has."""

import dataclasses

import jax.numpy as jnp

from train.codes.likelihood import LikelihoodStage
from train.fields import field
from vqlab import priors


@dataclasses.dataclass(frozen=True)
class WaveNetStage(LikelihoodStage):
  """A WaveNet over the tokenizer's codes, a sequence of them."""

  channels: int = field(128, least=1)
  """Width of the network."""
  skip_channels: int = field(256, least=1)
  """Width of the sum of its skips."""
  hidden: int = field(256, least=1)
  """Width of the layer before the logits."""
  num_layers: int = field(20, least=1)
  """Of dilations 1, 2, 4, ..."""
  cycle: int = field(10, least=1, most=24)
  """Layers after which dilations begin anew."""

  def network(self, num_codes: int, label_sizes: tuple[int, ...]) -> priors.WaveNet:
    return priors.WaveNet(
      num_codes=num_codes,
      label_sizes=label_sizes,
      channels=self.channels,
      skip_channels=self.skip_channels,
      hidden=self.hidden,
      num_layers=self.num_layers,
      cycle=self.cycle,
      dropout=self.dropout,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )
