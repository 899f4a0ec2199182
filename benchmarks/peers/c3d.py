"""C3D in PyTorch, written anew; its state dict has the keys of mmaction2's."""

import torch
from torch import nn

WIDTHS = {
  "conv1a": (3, 64),
  "conv2a": (64, 128),
  "conv3a": (128, 256),
  "conv3b": (256, 256),
  "conv4a": (256, 512),
  "conv4b": (512, 512),
  "conv5a": (512, 512),
  "conv5b": (512, 512),
}
ENDS = ("conv1a", "conv2a", "conv3b", "conv4b", "conv5b")  # a pool comes after them


class Convolution(nn.Module):
  def __init__(self, inputs: int, outputs: int):
    super().__init__()
    self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return torch.relu(self.conv(x))


class C3D(nn.Module):
  def __init__(self, classes: int = 487):
    super().__init__()
    self.backbone = nn.ModuleDict({n: Convolution(*widths) for n, widths in WIDTHS.items()})
    self.backbone["fc6"] = nn.Linear(8192, 4096)
    self.backbone["fc7"] = nn.Linear(4096, 4096)
    self.cls_head = nn.ModuleDict({"fc_cls": nn.Linear(4096, classes)})
    self.drop = nn.Dropout(0.5)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    for name in WIDTHS:
      x = self.backbone[name](x)
      if name in ENDS:
        size = (1 if name == "conv1a" else 2, 2, 2)
        padding = (0, 1, 1) if name == "conv5b" else 0
        x = torch.max_pool3d(x, size, size, padding)
    x = torch.relu(self.backbone["fc6"](x.flatten(1)))
    x = torch.relu(self.backbone["fc7"](self.drop(x)))
    return self.cls_head["fc_cls"](self.drop(x))
