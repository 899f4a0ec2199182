"""Layers that know no paper."""

from vqlab.nn.causal import CausalConv, shift_down, shift_right
from vqlab.nn.conv import ConvTranspose, ResidualBlock, conv_transpose
from vqlab.nn.dtypes import at_least_float32

__all__ = [
  "CausalConv",
  "ConvTranspose",
  "ResidualBlock",
  "at_least_float32",
  "conv_transpose",
  "shift_down",
  "shift_right",
]
