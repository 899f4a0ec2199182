"""Layers that know no paper."""

from vqlab.nn.attention import AttentionCache, CausalAttention
from vqlab.nn.causal import CausalConv, shift_down, shift_right
from vqlab.nn.codes import CodeConv
from vqlab.nn.conv import ConvTranspose, ResidualBlock, conv_transpose
from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.gated import GatedResidual, glu
from vqlab.nn.norm import BatchNorm
from vqlab.nn.strict import StrictCausalConvs, StrictKernel, strict_conv

__all__ = [
  "AttentionCache",
  "BatchNorm",
  "CausalAttention",
  "CausalConv",
  "CodeConv",
  "ConvTranspose",
  "GatedResidual",
  "ResidualBlock",
  "StrictCausalConvs",
  "StrictKernel",
  "at_least_float32",
  "conv_transpose",
  "glu",
  "shift_down",
  "shift_right",
  "strict_conv",
]
