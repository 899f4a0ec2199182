"""I3D in PyTorch, written anew; its state dict has the keys of piergiaj's pytorch-i3d."""

import torch
from torch import nn
from torch.nn import functional as F

BLOCKS = {
  "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
  "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
  "pool_4": (3, 2),
  "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
  "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
  "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
  "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
  "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
  "pool_5": (2, 2),
  "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
  "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}


def same(x: torch.Tensor, size: tuple, stride: tuple) -> torch.Tensor:
  """Zeros around [B, C, T, H, W] as TensorFlow's SAME has them."""
  padding = []
  for n, k, s in zip(x.shape[2:], size, stride, strict=True):
    total = max((-(-n // s) - 1) * s + k - n, 0)
    padding = [total // 2, total - total // 2, *padding]
  return F.pad(x, padding) if any(padding) else x


def pool(x: torch.Tensor, size: tuple, stride: tuple) -> torch.Tensor:
  return F.max_pool3d(same(x, size, stride), size, stride)  # after ReLU zeros are the least


class Unit(nn.Module):
  def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1):
    super().__init__()
    self.conv3d = nn.Conv3d(inputs, outputs, size, stride, bias=False)
    self.bn = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.001)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = same(x, self.conv3d.kernel_size, self.conv3d.stride)
    return torch.relu(self.bn(self.conv3d(x)))


class Mixed(nn.Module):
  def __init__(self, inputs, b0, b1a, b1b, b2a, b2b, b3b):
    super().__init__()
    self.b0 = Unit(inputs, b0)
    self.b1a, self.b1b = Unit(inputs, b1a), Unit(b1a, b1b, 3)
    self.b2a, self.b2b = Unit(inputs, b2a), Unit(b2a, b2b, 3)
    self.b3b = Unit(inputs, b3b)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    pooled = pool(x, (3, 3, 3), (1, 1, 1))
    parts = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
    return torch.cat(parts, 1)


class Logits(nn.Module):
  def __init__(self, classes: int):
    super().__init__()
    self.conv3d = nn.Conv3d(1024, classes, 1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.conv3d(F.dropout(F.avg_pool3d(x, (2, 7, 7), 1), 0.5, self.training))


class I3D(nn.Module):
  def __init__(self, classes: int = 400):
    super().__init__()
    self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
    self.Conv3d_2b_1x1 = Unit(64, 64)
    self.Conv3d_2c_3x3 = Unit(64, 192, 3)
    for name, widths in BLOCKS.items():
      if name.startswith("Mixed"):
        setattr(self, name, Mixed(*widths))
    self.logits = Logits(classes)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
    x = pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
    for name, widths in BLOCKS.items():
      if name.startswith("Mixed"):
        x = getattr(self, name)(x)
      else:
        size, stride = widths
        x = pool(x, (size,) * 3, (stride,) * 3)
    return self.logits(x).mean((2, 3, 4))
