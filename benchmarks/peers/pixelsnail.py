"""rosinality's PixelSNAIL in PyTorch, from what is known of it, for parity tests and benchmarks.

Parameters, their names and the function are those of rosinality's vq-vae-2-pytorch (its version
with ELUs out of place); its sampling recomputes all of the rows so far for every position.
"""

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F


class Normed(nn.Module):
  """A weight-normalised kernel, whose masked taps are zero whatever the checkpoint holds."""

  def __init__(self, *shape: int, bias: bool = True, masked: bool = False):
    super().__init__()
    self.weight_g = nn.Parameter(torch.ones(shape[0], *[1] * (len(shape) - 1)))
    self.weight_v = nn.Parameter(torch.randn(shape) / math.sqrt(math.prod(shape[1:])))
    self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
    self.masked, self.folded = masked, None
    self.register_parameter("kernel", None)
    if masked:
      mask = torch.ones(shape[2:])
      mask[-1, shape[3] // 2 :] = 0
      self.register_buffer("mask", mask, persistent=False)

  def weight(self) -> torch.Tensor:
    if self.folded is not None:
      return self.folded
    v = self.weight_v if self.kernel is None else self.kernel
    if self.masked:
      v = v * self.mask
    if self.kernel is not None:
      return v
    return v * (self.weight_g / v.flatten(1).norm(dim=1).view_as(self.weight_g))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """A product over the last axis."""
    return F.linear(x, self.weight(), self.bias)


class Conv(nn.Module):
  """A convolution with explicit padding (left, right, top, bottom)."""

  def __init__(self, inputs: int, outputs: int, size: tuple[int, int], padding: tuple, **options):
    super().__init__()
    self.conv = Normed(outputs, inputs, *size, **options)
    self.padding = padding

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return F.conv2d(F.pad(x, self.padding), self.conv.weight(), self.conv.bias)


class Wrapped(nn.Module):
  """A causal convolution; one level deeper only for the sake of its parameters' names."""

  def __init__(self, *args, **options):
    super().__init__()
    self.conv = Conv(*args, **options)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.conv(x)


def causal(inputs: int, outputs: int, k: int) -> Wrapped:
  return Wrapped(inputs, outputs, (k, k), (k // 2, k // 2, k - 1, 0), masked=True)


def centred(inputs: int, outputs: int, k: int, **options: bool) -> Conv:
  return Conv(inputs, outputs, (k, k), (k // 2,) * 4, **options)


class Gated(nn.Module):
  def __init__(self, channels, hidden, k, dropout, *, layer=centred, extra=0, condition=0):
    super().__init__()
    self.conv1 = layer(channels, hidden, k)
    self.conv2 = layer(hidden, 2 * channels, k)
    if extra:
      self.aux_conv = centred(extra, hidden, 1)
    if condition:
      self.condition = centred(condition, 2 * channels, 1, bias=False)
    self.dropout = dropout

  def forward(self, x, extra=None, condition=None):
    h = self.conv1(F.elu(x))
    if extra is not None:
      h = h + self.aux_conv(F.elu(extra))
    h = self.conv2(F.dropout(F.elu(h), self.dropout, self.training))
    if condition is not None:
      h = h + self.condition(condition)
    return x + F.glu(h, 1)


class Attention(nn.Module):
  def __init__(self, queries: int, keys: int, channels: int, heads: int, dropout: float):
    super().__init__()
    self.query, self.key = Normed(channels, queries), Normed(channels, keys)
    self.value, self.heads, self.dropout = Normed(channels, keys), heads, dropout

  def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    B, _, H, W = query.shape
    query, key = (x.flatten(2).transpose(1, 2) for x in (query, key))
    q, k, v = (
      layer(x).view(B, H * W, self.heads, -1).transpose(1, 2)
      for layer, x in ((self.query, query), (self.key, key), (self.value, key))
    )
    before = torch.ones(H * W, H * W).tril(-1)
    scores = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).masked_fill(before == 0, -1e4)
    weights = scores.softmax(-1) * (torch.arange(H * W) > 0)[:, None]
    weights = F.dropout(weights, self.dropout, self.training)
    return (weights @ v).transpose(2, 3).reshape(B, -1, H, W)


class Block(nn.Module):
  def __init__(self, channels, hidden, k, layers, attention, dropout, condition):
    super().__init__()
    self.resblocks = nn.ModuleList(
      Gated(channels, hidden, k, dropout, layer=causal, condition=condition) for _ in range(layers)
    )
    self.attention = attention
    if attention:
      self.key_resblock = Gated(2 * channels + 2, channels, 1, dropout)
      self.query_resblock = Gated(channels + 2, channels, 1, dropout)
      width = channels // 2
      self.causal_attention = Attention(channels + 2, 2 * channels + 2, width, 8, dropout)
      self.out_resblock = Gated(channels, channels, 1, dropout, extra=width)
    else:
      self.out = centred(channels + 2, channels, 1)

  def forward(self, x, background, condition):
    first = x
    for block in self.resblocks:
      x = block(x, condition=condition)
    query = torch.cat([x, background], 1)
    if not self.attention:
      return self.out(query)
    key = self.key_resblock(torch.cat([first, x, background], 1))
    return self.out_resblock(x, self.causal_attention(self.query_resblock(query), key))


class Stack(nn.Module):
  def __init__(self, inputs: int, channels: int, layers: int):
    super().__init__()
    gated = (Gated(channels, channels, 3, 0.1) for _ in range(layers))
    self.blocks = nn.Sequential(centred(inputs, channels, 3), *gated)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.blocks(x)


class PixelSNAIL(nn.Module):
  """Codes int64[B, h, W] of the first rows of a map, and of the level above -> [B, K, h, W]."""

  def __init__(
    self,
    shape: tuple[int, int],
    num_codes: int = 512,
    channels: int = 256,
    kernel: int = 5,
    blocks: int = 4,
    layers: int = 4,
    hidden: int = 256,
    *,
    attention: bool = True,
    dropout: float = 0.1,
    cond_blocks: int = 0,
    cond_channels: int = 0,
    out_blocks: int = 0,
  ):
    super().__init__()
    r = kernel // 2
    self.horizontal = Wrapped(num_codes, channels, (r, kernel), (r, r, r - 1, 0))
    self.vertical = Wrapped(num_codes, channels, (r + 1, r), (r - 1, 0, r, 0))
    places = ((torch.arange(n) - n / 2) / n for n in shape)
    self.register_buffer("background", torch.stack(torch.meshgrid(*places, indexing="ij"))[None])
    self.blocks = nn.ModuleList(
      Block(channels, hidden, kernel, layers, attention, dropout, cond_channels)
      for _ in range(blocks)
    )
    if cond_blocks:
      self.cond_resnet = Stack(num_codes, cond_channels, cond_blocks)
    out = [Gated(channels, hidden, 1, 0.1) for _ in range(out_blocks)]
    self.out = nn.Sequential(*out, nn.ELU(), centred(channels, num_codes, 1))
    self.num_codes = num_codes

  def features(self, upper: torch.Tensor) -> torch.Tensor:
    """What the conditioning stack makes of the level above, twice its size."""
    return F.interpolate(self.cond_resnet(self._one_hot(upper)), scale_factor=2)

  def forward(
    self,
    codes: torch.Tensor,
    upper: torch.Tensor | None = None,
    features: torch.Tensor | None = None,
  ) -> torch.Tensor:
    rows = codes.shape[1]
    x = self._one_hot(codes)
    above = F.pad(self.horizontal(x), (0, 0, 1, 0))[:, :, :-1]
    left = F.pad(self.vertical(x), (1, 0))[..., :-1]
    background = self.background[:, :, :rows].expand(len(codes), -1, -1, -1)
    features = self.features(upper) if upper is not None else features
    features = None if features is None else features[:, :, :rows]
    x = above + left
    for block in self.blocks:
      x = block(x, background, features)
    return self.out(x)

  def fold(self) -> None:
    """Computes every kernel once, where rosinality's does so in every call."""
    for layer in self.normed():
      layer.folded = layer.weight().detach()

  def unnormalise(self) -> None:
    """Trains plain kernels from here on, and one bias where two are added: vqlab's network."""
    for layer in self.normed():
      layer.kernel = nn.Parameter(layer.weight().detach())
      del layer.weight_g, layer.weight_v
    for module in self.modules():
      if isinstance(module, Gated) and hasattr(module, "aux_conv"):
        module.aux_conv.conv.bias = None

  def normed(self) -> Iterator[Normed]:
    return (m for m in self.modules() if isinstance(m, Normed))

  def _one_hot(self, codes: torch.Tensor) -> torch.Tensor:
    return F.one_hot(codes, self.num_codes).permute(0, 3, 1, 2).to(self.background.dtype)
