"""vqlab's Gated PixelCNN written in PyTorch: causal by padding alone, as there."""

import torch
from torch import nn
from torch.nn import functional as F


def gate(x: torch.Tensor) -> torch.Tensor:
  signal, gates = x.chunk(2, 1)
  return signal.tanh() * gates.sigmoid()


class Layer(nn.Module):
  def __init__(self, channels: int, radius: int):
    super().__init__()
    C, r = channels, radius
    self.radius = r
    self.vertical = nn.Conv2d(C, 2 * C, (r + 1, 2 * r + 1))
    self.link = nn.Conv2d(2 * C, 2 * C, 1, bias=False)
    self.horizontal = nn.Conv2d(C, 2 * C, (1, r + 1))
    self.residual = nn.Conv2d(C, C, 1)

  def forward(self, v: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    r = self.radius
    a = self.vertical(F.pad(v, (r, r, r, 0)))
    b = self.horizontal(F.pad(h, (r, 0, 0, 0))) + self.link(a)
    return gate(a), h + self.residual(gate(b))


class PixelCNN(nn.Module):
  """Codes int64[B, H, W] -> [B, K, H, W]."""

  def __init__(
    self,
    num_codes: int = 512,
    channels: int = 128,
    layers: int = 12,
    kernel: int = 5,
    hidden: int = 512,
  ):
    super().__init__()
    self.embed = nn.Embedding(num_codes, channels)
    self.layers = nn.ModuleList(Layer(channels, kernel // 2) for _ in range(layers))
    self.to_hidden = nn.Conv2d(channels, hidden, 1)
    self.out = nn.Conv2d(hidden, num_codes, 1)

  def forward(self, codes: torch.Tensor) -> torch.Tensor:
    x = self.embed(codes).permute(0, 3, 1, 2)
    v, h = F.pad(x[:, :, :-1], (0, 0, 1, 0)), F.pad(x[..., :-1], (1, 0, 0, 0))
    for layer in self.layers:
      v, h = layer(v, h)
    return self.out(F.relu(self.to_hidden(F.relu(h))))
