"""What a prior in a hierarchy is told."""

from typing import NamedTuple

import jax


class Conditions(NamedTuple):
  """The `cond` of a prior that is conditioned on the codes of other levels."""

  labels: jax.Array | None = None  # i32[B]; None where the prior knows no classes
  codes: tuple[jax.Array, ...] = ()  # i32[B, h, w] of every upper level, top first
