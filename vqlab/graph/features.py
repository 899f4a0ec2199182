"""What a node is within its subgraph, as GCC has it (Qiu et al. 2020, arXiv 2006.09963).

Where it stands: its entries in the top eigenvectors of D^-1/2 A D^-1/2. How many neighbours it has.
Whether it is the seed. Nothing of which node of the whole graph it is, so that an encoder of these
features can be taken to another graph.

Letters: B subgraphs, n nodes of each at most, k eigenvectors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vqlab.graph.walks import Subgraphs
from vqlab.nn import checks


class Features(NamedTuple):
  """Of the nodes of subgraphs; 0 where there is no node."""

  positions: jax.Array  # f32[B, n, k]
  degrees: jax.Array  # i32[B, n]  neighbours within the subgraph
  seed: jax.Array  # bool[B, n]


def structural(
  sub: Subgraphs, *, eigenvectors: int = 32, dtype: jnp.dtype = jnp.float32
) -> Features:
  """The features of subgraphs.

  Args:
    eigenvectors: k; of a subgraph of m nodes min(k, m - 2) are taken, as GCC does, the rest is 0.
    dtype: of the positions.
  """
  degrees = jnp.sum(sub.adjacency, axis=-1, dtype=jnp.int32)
  positions = spectral_positions(sub.adjacency, sub.mask, eigenvectors=eigenvectors, dtype=dtype)
  seed = jnp.zeros_like(sub.mask).at[:, 0].set(True) & sub.mask
  return Features(positions, degrees, seed)


def spectral_positions(
  adjacency: jax.Array, mask: jax.Array, *, eigenvectors: int = 32, dtype: jnp.dtype = jnp.float32
) -> jax.Array:
  """f[B, n, k]: rows of the eigenvectors of largest eigenvalue, each row of length 1.

  An eigenvector's sign is such that its entry of largest magnitude is positive. Of an eigenvalue
  that occurs several times, and of an eigenvector with two such entries, what is chosen is left to
  the solver: graphs with symmetries have both.

  Args:
    adjacency: bool[B, n, n], symmetric; mask: bool[B, n], where there is a node.
  """
  checks.whole_number("spectral_positions: eigenvectors", eigenvectors, least=1)
  n = mask.shape[-1]
  edges = adjacency.astype(dtype)
  scale = jax.lax.rsqrt(jnp.maximum(jnp.sum(edges, axis=-1), 1))
  normalized = scale[..., :, None] * edges * scale[..., None, :]
  # All eigenvalues lie in [-1, 1]: those of -2 are of places without a node, and come last.
  beyond = jnp.where(mask, 0, -2).astype(dtype)
  _, vectors = jnp.linalg.eigh(normalized + beyond[..., None] * jnp.eye(n, dtype=dtype))
  # Of some graph in tens of thousands LAPACK finds none and gives NaN: 0 then, as in GCC.
  vectors = jnp.where(jnp.isfinite(vectors), vectors, 0)[..., ::-1][..., :eigenvectors]
  largest = jnp.argmax(jnp.abs(vectors), axis=-2, keepdims=True)
  vectors *= jnp.where(jnp.take_along_axis(vectors, largest, axis=-2) < 0, -1, 1).astype(dtype)
  count = jnp.sum(mask, axis=-1, dtype=jnp.int32)[..., None]
  taken = jnp.arange(vectors.shape[-1], dtype=jnp.int32) < count - 2
  vectors = jnp.where(taken[..., None, :] & mask[..., None], vectors, 0)
  length = jnp.sqrt(jnp.sum(jnp.square(vectors), axis=-1, keepdims=True))
  vectors /= jnp.where(length > 0, length, 1)
  return jnp.pad(vectors, (*((0, 0),) * (vectors.ndim - 1), (0, eigenvectors - vectors.shape[-1])))
