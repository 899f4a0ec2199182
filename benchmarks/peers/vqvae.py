"""VQ-VAE and VQ-VAE-2 in PyTorch, as they are written there; codebooks by averages (EMA).

VQ-VAE-2, its quantizer included, is rosinality's vq-vae-2-pytorch, from what is known of it.
"""

import torch
from torch import nn
from torch.nn import functional as F

down = lambda a, b: nn.Conv2d(a, b, 4, stride=2, padding=1)
up = lambda a, b: nn.ConvTranspose2d(a, b, 4, stride=2, padding=1)
same = lambda a, b: nn.Conv2d(a, b, 3, padding=1)


class Residual(nn.Module):
  def __init__(self, channels: int, hidden: int):
    super().__init__()
    self.conv = nn.Sequential(
      nn.ReLU(), same(channels, hidden), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1)
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return x + self.conv(x)


class Quantizer(nn.Module):
  """[B, D, h, w] -> quantized vectors and the commitment loss; the codebook is updated at once."""

  def __init__(self, dim: int, num_codes: int, decay: float = 0.99, eps: float = 1e-5):
    super().__init__()
    self.decay, self.eps = decay, eps
    embed = torch.randn(dim, num_codes)
    self.register_buffer("embed", embed)
    self.register_buffer("cluster_size", torch.zeros(num_codes))
    self.register_buffer("embed_avg", embed.clone())

  def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = z.permute(0, 2, 3, 1)
    flat = z.detach().reshape(-1, z.shape[-1])
    squares = flat.pow(2).sum(1, keepdim=True) + self.embed.pow(2).sum(0, keepdim=True)
    indices = (squares - 2 * flat @ self.embed).argmin(1)
    codes = F.embedding(indices.view(z.shape[:-1]), self.embed.T)
    with torch.no_grad():
      one_hot = F.one_hot(indices, self.embed.shape[1]).to(flat)
      self.cluster_size.mul_(self.decay).add_(one_hot.sum(0), alpha=1 - self.decay)
      self.embed_avg.mul_(self.decay).add_(flat.T @ one_hot, alpha=1 - self.decay)
      n, k = self.cluster_size.sum(), self.embed.shape[1]
      smoothed = (self.cluster_size + self.eps) / (n + k * self.eps) * n
      self.embed.copy_(self.embed_avg / smoothed)
    loss = F.mse_loss(z, codes)
    return (z + (codes - z).detach()).permute(0, 3, 1, 2), loss


class VQVAE(nn.Module):
  """Images [B, 3, H, W] -> reconstructions, commitment loss."""

  def __init__(self, channels: int = 256, blocks: int = 2, dim: int = 64, num_codes: int = 512):
    super().__init__()
    C = channels
    residual = lambda: [Residual(C, C) for _ in range(blocks)]
    first = [down(3, C), nn.ReLU(inplace=True), down(C, C)]
    self.encoder = nn.Sequential(*first, *residual(), nn.ReLU(), nn.Conv2d(C, dim, 1))
    self.quantizer = Quantizer(dim, num_codes)
    last = [nn.ReLU(), up(C, C), nn.ReLU(inplace=True), up(C, 3)]
    self.decoder = nn.Sequential(same(dim, C), *residual(), *last)

  def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    vectors, loss = self.quantizer(self.encoder(x))
    return self.decoder(vectors), loss


class VQVAE2(nn.Module):
  """Images [B, 3, H, W] -> reconstructions, commitment losses of both levels."""

  def __init__(
    self,
    channels: int = 128,
    hidden: int = 32,
    blocks: int = 2,
    dim: int = 64,
    num_codes: int = 512,
  ):
    super().__init__()
    C, half, D, relu = channels, channels // 2, dim, lambda: nn.ReLU(inplace=True)
    stack = lambda *layers: [*layers, *[Residual(C, hidden) for _ in range(blocks)], relu()]
    first = [down(3, half), relu(), down(half, C), relu(), same(C, C)]
    self.enc_b = nn.Sequential(*stack(*first))
    self.enc_t = nn.Sequential(*stack(down(C, half), relu(), same(half, C)))
    self.quantize_conv_t = nn.Conv2d(C, D, 1)
    self.quantize_t = Quantizer(D, num_codes)
    self.dec_t = nn.Sequential(*stack(same(D, C)), up(C, D))
    self.quantize_conv_b = nn.Conv2d(D + C, D, 1)
    self.quantize_b = Quantizer(D, num_codes)
    self.upsample_t = up(D, D)
    self.dec = nn.Sequential(*stack(same(2 * D, C)), up(C, half), relu(), up(half, 3))

  def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    bottom = self.enc_b(x)
    top, loss_t = self.quantize_t(self.quantize_conv_t(self.enc_t(bottom)))
    z = self.quantize_conv_b(torch.cat([self.dec_t(top), bottom], 1))
    vectors, loss_b = self.quantize_b(z)
    return self.dec(torch.cat([self.upsample_t(top), vectors], 1)), loss_t + loss_b
