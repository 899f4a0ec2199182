"""LightGCN in PyTorch by `torch.sparse.mm`, and its triples drawn by vectorised NumPy."""

import warnings

import numpy as np
import torch
from torch import nn


class Symmetric(torch.autograd.Function):
  """A product whose gradient is taken by the matrix itself, which autograd would transpose."""

  @staticmethod
  def forward(ctx, matrix: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    ctx.matrix = matrix
    return torch.sparse.mm(matrix, x)

  @staticmethod
  def backward(ctx, dy: torch.Tensor) -> tuple[None, torch.Tensor]:
    return None, torch.sparse.mm(ctx.matrix, dy)


class LightGCN(nn.Module):
  """The graph's rows [N + 1] and [E], and embeddings [N, D]; layout "coo" or "csr"."""

  def __init__(
    self,
    indptr: np.ndarray,
    indices: np.ndarray,
    embeddings: np.ndarray,
    *,
    layers: int = 3,
    layout: str = "coo",
    symmetric: bool = False,
  ):
    super().__init__()
    degree = np.maximum(np.diff(indptr), 1)
    source = np.repeat(np.arange(len(degree)), np.diff(indptr))
    values = (degree[source] * degree[indices].astype(np.float64)) ** -0.5
    matrix = torch.sparse_coo_tensor(
      torch.tensor(np.stack([source, indices])),
      torch.tensor(values.astype(embeddings.dtype)),
      (len(degree), len(degree)),
      check_invariants=True,
    ).coalesce()
    with warnings.catch_warnings():  # that CSR is in beta
      warnings.simplefilter("ignore", UserWarning)
      self.matrix = matrix if layout == "coo" else matrix.to_sparse_csr()
    self.product = Symmetric.apply if symmetric else torch.sparse.mm
    self.layers = layers
    self.embeddings = nn.Parameter(torch.tensor(embeddings))

  def forward(self) -> torch.Tensor:
    x = total = self.embeddings
    for _ in range(self.layers):
      x = self.product(self.matrix, x)
      total = total + x
    return total / (self.layers + 1)

  def loss(
    self, users: torch.Tensor, good: torch.Tensor, bad: torch.Tensor, penalty: float
  ) -> torch.Tensor:
    """BPR of nodes of users and items, and half the squared norms of their own embeddings."""
    final = self()
    user = final[users]
    difference = (user * final[good]).sum(1) - (user * final[bad]).sum(1)
    norms = sum((self.embeddings[nodes] ** 2).sum() for nodes in (users, good, bad))
    ranked = nn.functional.softplus(-difference).mean()
    return ranked + penalty * norms / 2 / len(users)


def triples(
  rng: np.random.Generator, indptr: np.ndarray, indices: np.ndarray, num_users: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Users, each as likely, one of their items, and one not theirs, by rejection: nodes [count]."""
  num_nodes = len(indptr) - 1
  taken = np.repeat(np.arange(num_users), np.diff(indptr[: num_users + 1])) * num_nodes
  taken = taken + indices[: indptr[num_users]]  # ascending
  users = rng.integers(0, num_users, count)
  begin, end = indptr[users], indptr[users + 1]
  good = indices[rng.integers(begin, end)].astype(np.int64)
  bad = rng.integers(num_users, num_nodes, count)
  again = np.arange(count)
  while again.size:
    keys = users[again] * num_nodes + bad[again]
    found = taken[np.minimum(np.searchsorted(taken, keys), len(taken) - 1)] == keys
    again = again[found]
    bad[again] = rng.integers(num_users, num_nodes, again.size)
  return users, good, bad
