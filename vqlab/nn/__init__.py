"""Layers that know no paper."""

from vqlab.nn.attention import AttentionCache, CausalAttention
from vqlab.nn.causal import CausalConv, shift_down, shift_right
from vqlab.nn.codes import CodeConv
from vqlab.nn.conv import Conv, ConvTranspose, ResidualBlock, conv_transpose
from vqlab.nn.conv3d import conv3d
from vqlab.nn.conv3d_layers import Conv3D, ConvNorm
from vqlab.nn.dense import Dense, product
from vqlab.nn.dropout import Dropout
from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.gated import GatedResidual, glu
from vqlab.nn.norm import BatchNorm, LayerNorm
from vqlab.nn.pool3d import max_pool3d
from vqlab.nn.strict import StrictCausalConvs, StrictKernel, strict_conv

__all__ = [
  "AttentionCache",
  "BatchNorm",
  "CausalAttention",
  "CausalConv",
  "CodeConv",
  "Conv",
  "Conv3D",
  "ConvNorm",
  "ConvTranspose",
  "Dense",
  "Dropout",
  "GatedResidual",
  "LayerNorm",
  "ResidualBlock",
  "StrictCausalConvs",
  "StrictKernel",
  "at_least_float32",
  "conv3d",
  "conv_transpose",
  "glu",
  "max_pool3d",
  "product",
  "shift_down",
  "shift_right",
  "strict_conv",
]
