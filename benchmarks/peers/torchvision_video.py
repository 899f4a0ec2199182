"""torchvision's networks for clips in PyTorch, written anew; their state dicts have the same keys.

r3d_18, mc3_18, r2plus1d_18, s3d
"""

import torch
from torch import nn


def conv_norm(inputs, outputs, size, stride=1, *, epsilon=1e-5, relu=True):
  padding = tuple(k // 2 for k in size)
  layers = [
    nn.Conv3d(inputs, outputs, size, stride, padding, bias=False),
    nn.BatchNorm3d(outputs, eps=epsilon),
  ]
  return [*layers, nn.ReLU()] if relu else layers


def factored(inputs, middle, outputs, stride):
  """1x3x3, norm, ReLU, 3x1x1."""
  t, s = stride
  return nn.Sequential(
    *conv_norm(inputs, middle, (1, 3, 3), (1, s, s)),
    nn.Conv3d(middle, outputs, (3, 1, 1), (t, 1, 1), (1, 0, 0), bias=False),
  )


class Block(nn.Module):
  def __init__(self, inputs, outputs, kind, stride):
    super().__init__()
    t, s = stride
    middle = 27 * inputs * outputs // (9 * inputs + 3 * outputs)

    def convolution(inputs, stride):
      if kind == "2+1d":
        return factored(inputs, middle, outputs, stride)
      size = (3, 3, 3) if kind == "3d" else (1, 3, 3)
      padding, strides = (size[0] // 2, 1, 1), (stride[0], stride[1], stride[1])
      return nn.Conv3d(inputs, outputs, size, strides, padding, bias=False)

    norm = lambda: nn.BatchNorm3d(outputs)
    self.conv1 = nn.Sequential(convolution(inputs, stride), norm(), nn.ReLU())
    self.conv2 = nn.Sequential(convolution(outputs, (1, 1)), norm())
    if inputs != outputs or stride != (1, 1):
      shortcut = conv_norm(inputs, outputs, (1, 1, 1), (t, s, s), relu=False)
      self.downsample = nn.Sequential(*shortcut)
    else:
      self.downsample = nn.Identity()

  def forward(self, x):
    return torch.relu(self.conv2(self.conv1(x)) + self.downsample(x))


class VideoResNet(nn.Module):
  """r3d_18, mc3_18 or r2plus1d_18."""

  def __init__(self, name, classes=400, width=64, depth=2, stem_middle=45):
    super().__init__()
    if name == "r2plus1d_18":
      self.stem = nn.Sequential(
        *conv_norm(3, stem_middle, (1, 7, 7), (1, 2, 2)),
        *conv_norm(stem_middle, width, (3, 1, 1)),
      )
    else:
      self.stem = nn.Sequential(*conv_norm(3, width, (3, 7, 7), (1, 2, 2)))
    inputs = width
    for i in range(4):
      kind = {"r3d_18": "3d", "r2plus1d_18": "2+1d"}.get(name, "2d" if i else "3d")
      outputs, s = width * 2**i, 2 if i else 1
      stride = (1 if kind == "2d" else s, s)
      blocks = [Block(inputs, outputs, kind, stride)]
      blocks += [Block(outputs, outputs, kind, (1, 1)) for _ in range(depth - 1)]
      setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
      inputs = outputs
    self.fc = nn.Linear(inputs, classes)

  def forward(self, x):
    x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
    return self.fc(x.mean((2, 3, 4)))


def unit(inputs, outputs):
  return nn.Sequential(*conv_norm(inputs, outputs, (1, 1, 1), epsilon=1e-3))


def separable(inputs, outputs, size, stride=1):
  space, time = (1, size, size), (size, 1, 1)
  return nn.Sequential(
    nn.Sequential(*conv_norm(inputs, outputs, space, (1, stride, stride), epsilon=1e-3)),
    nn.Sequential(*conv_norm(outputs, outputs, time, (stride, 1, 1), epsilon=1e-3)),
  )


class Inception(nn.Module):
  def __init__(self, inputs, b0, b1a, b1b, b2a, b2b, b3):
    super().__init__()
    self.branch0 = unit(inputs, b0)
    self.branch1 = nn.Sequential(unit(inputs, b1a), separable(b1a, b1b, 3))
    self.branch2 = nn.Sequential(unit(inputs, b2a), separable(b2a, b2b, 3))
    self.branch3 = nn.Sequential(nn.MaxPool3d(3, 1, 1), unit(inputs, b3))

  def forward(self, x):
    branches = (self.branch0, self.branch1, self.branch2, self.branch3)
    return torch.cat([branch(x) for branch in branches], 1)


class S3D(nn.Module):
  def __init__(self, classes=400):
    super().__init__()
    spatial_pool = lambda: nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    self.features = nn.Sequential(
      separable(3, 64, 7, 2),
      spatial_pool(),
      unit(64, 64),
      separable(64, 192, 3),
      spatial_pool(),
      Inception(192, 64, 96, 128, 16, 32, 32),
      Inception(256, 128, 128, 192, 32, 96, 64),
      nn.MaxPool3d(3, 2, 1),
      Inception(480, 192, 96, 208, 16, 48, 64),
      Inception(512, 160, 112, 224, 24, 64, 64),
      Inception(512, 128, 128, 256, 24, 64, 64),
      Inception(512, 112, 144, 288, 32, 64, 64),
      Inception(528, 256, 160, 320, 32, 128, 128),
      nn.MaxPool3d(2, 2),
      Inception(832, 256, 160, 320, 32, 128, 128),
      Inception(832, 384, 192, 384, 48, 128, 128),
    )
    self.avgpool = nn.AvgPool3d((2, 7, 7), 1)
    self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Conv3d(1024, classes, 1))

  def forward(self, x):
    return self.classifier(self.avgpool(self.features(x))).mean((2, 3, 4))


def network(name, **options):
  return S3D(**options) if name == "s3d" else VideoResNet(name, **options)
