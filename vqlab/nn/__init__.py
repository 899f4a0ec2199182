"""Layers that know no paper."""

from vqlab.nn.attention import AttentionCache, CausalAttention
from vqlab.nn.causal import CausalConv, shift_down, shift_right
from vqlab.nn.codes import CodeConv
from vqlab.nn.conv import Conv, ConvTranspose, ResidualBlock, conv_transpose
from vqlab.nn.dense import Dense, product
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
  "Conv",
  "ConvTranspose",
  "Dense",
  "GatedResidual",
  "ResidualBlock",
  "StrictCausalConvs",
  "StrictKernel",
  "at_least_float32",
  "conv_transpose",
  "glu",
  "product",
  "shift_down",
  "shift_right",
  "strict_conv",
]
