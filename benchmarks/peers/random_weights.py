"""Weights and statistics with which activations keep their size through many layers."""

import torch


def randomize(network: torch.nn.Module, *, seed: int = 0) -> torch.nn.Module:
  """Random weights, norms' scales, biases and running statistics, in place; for evaluation."""
  generator = torch.Generator().manual_seed(seed)
  for module in network.modules():
    if isinstance(module, torch.nn.BatchNorm3d):
      module.running_mean.normal_(0, 0.1, generator=generator)
      module.running_var.uniform_(0.5, 1.5, generator=generator)
      module.weight.data.uniform_(0.5, 1.5, generator=generator)
      module.bias.data.normal_(0, 0.1, generator=generator)
    elif isinstance(module, torch.nn.Conv3d | torch.nn.Linear):
      fan_in = module.weight[0].numel()
      module.weight.data.normal_(0, fan_in**-0.5, generator=generator)
      if module.bias is not None:
        module.bias.data.normal_(0, 0.1, generator=generator)
  return network.eval()
