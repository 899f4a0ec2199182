"""PyTorch's networks for clips by vqlab's names: pytorchvideo's, or torchvision's written anew."""

import torch

from benchmarks.peers import c3d, i3d, pytorchvideo_hub, torchvision_video

_HUB = {
  "x3d_xs": "x3d_xs",
  "x3d_s": "x3d_s",
  "x3d_m": "x3d_m",
  "x3d_l": "x3d_l",
  "slow_r50": "slow_r50",
  "c2d_r50": "c2d_r50",
  "i3d_r50": "i3d_r50",
  "r2plus1d_r50": "r2plus1d_r50",
  "slowfast_8x8_r50": "slowfast_r50",
  "slowfast_8x8_r101": "slowfast_r101",
}


def network(name: str) -> torch.nn.Module:
  """A network at full size with its publisher's number of classes."""
  if name in _HUB:
    return pytorchvideo_hub.network(_HUB[name])
  if name in ("c3d", "i3d"):
    return c3d.C3D() if name == "c3d" else i3d.I3D()
  return torchvision_video.network(name)


def inputs(clip: torch.Tensor, alpha: int = 0) -> torch.Tensor | list[torch.Tensor]:
  """What a network takes of [B, C, T, H, W]: SlowFast, whose alpha is given, takes two clips."""
  if not alpha:
    return clip
  frames = clip.shape[2]
  slow = torch.linspace(0, frames - 1, frames // alpha).long()
  return [clip.index_select(2, slow), clip]
