"""What a prior over the codes of one level may be conditioned on: a class, levels above, features.

The upper levels' codes go through the conditioning stack of VQ-VAE-2 (Razavi et al. 2019, arXiv
1906.00446) in rosinality's form: a 3x3 convolution over each level's one-hot codes, gated residual
blocks of 3x3 convolutions over their sum, and nearest-neighbour upsampling to the map.
"""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike, DTypeLike

from vqlab.nn.codes import CodeConv
from vqlab.nn.gated import GatedResidual


class Conditions(NamedTuple):
  """The `cond` of a prior that is conditioned on more than labels."""

  labels: jax.Array | None = None  # i32[B]; None where the prior knows no classes
  codes: tuple[jax.Array, ...] = ()  # i32[B, h, w] of every upper level, top first
  features: jax.Array | None = None  # f32[B, H, W, F] of each position, or [B, F] of the whole map


def as_conditions(cond: ArrayLike | Conditions | None) -> Conditions:
  """Labels, or nothing, as `Conditions`."""
  return cond if isinstance(cond, Conditions) else Conditions(labels=cond)


def checked_conditions(
  cond: ArrayLike | Conditions | None, shape: tuple[int, ...], num_classes: int, num_levels: int
) -> Conditions:
  """The conditions of a map of `shape` (B, H, W) as int32 arrays.

  Raises:
    ValueError: labels or levels are missing or not expected, or have the wrong shape or type; a
      level's size does not divide that of the next one below it; there are features.
  """
  if num_levels and not isinstance(cond, Conditions):
    raise ValueError(
      f"cond is {_describe(cond)}; a model with {num_levels} upper levels takes "
      "Conditions(labels, codes)"
    )
  labels, codes, features = as_conditions(cond)
  checked_features(features, shape, 0)
  B, *size = shape
  if labels is None and num_classes:
    raise ValueError(f"cond has no labels: this model has {num_classes} classes; pass int[{B}]")
  if labels is not None:
    if not num_classes:
      raise ValueError("cond has labels; this model takes none (num_classes=0)")
    labels = _integers("labels", labels)
    if labels.shape != (B,):
      raise ValueError(f"labels have shape {list(labels.shape)}; it must be [{B}]")
  if not isinstance(codes, tuple | list) or len(codes) != num_levels:
    found = f"{len(codes)} levels" if isinstance(codes, tuple | list) else _describe(codes)
    raise ValueError(f"cond has {found} of upper codes; this model takes a tuple of {num_levels}")
  codes = [_integers(f"upper codes {n}", level) for n, level in enumerate(codes)]
  sizes = [*(level.shape[1:] for level in codes), tuple(size)]
  for n, level in enumerate(codes):
    if level.ndim != 3 or level.shape[0] != B or not level.size:
      raise ValueError(f"upper codes {n} have shape {list(level.shape)}; it must be [{B}, h, w]")
    for axis in (0, 1):
      if sizes[n + 1][axis : axis + 1] and sizes[n + 1][axis] % sizes[n][axis]:
        raise ValueError(
          f"upper codes {n} are {_by(sizes[n])}; both sizes must divide those of the map they are "
          f"upsampled to, {_by(sizes[n + 1])}"
        )
  return Conditions(labels, tuple(codes))


def checked_features(
  features: ArrayLike | None, shape: tuple[int, ...], num_features: int
) -> jax.Array | None:
  """Features of a map of `shape` (B, H, W, ...): [B, H, W, F], [B, F], or None of a model without.

  Raises:
    ValueError: they are missing or not expected, or have the wrong shape or type.
  """
  if features is None and not num_features:
    return None
  if not num_features:
    raise ValueError("cond has features; this model takes none (num_features=0)")
  B, H, W = shape[:3]
  expected = f"[{B}, {H}, {W}, {num_features}] or [{B}, {num_features}]"
  if features is None:
    raise ValueError(f"cond has no features: this model takes Conditions(features={expected})")
  features = jnp.asarray(features)
  if not jnp.issubdtype(features.dtype, jnp.floating):
    raise ValueError(f"features are {features.dtype}; they must be floating point")
  if features.shape not in ((B, H, W, num_features), (B, num_features)):
    raise ValueError(f"features have shape {list(features.shape)}; it must be {expected}")
  return features


def upsample(x: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Nearest-neighbour upsampling by whole factors: [B, h, w, C] -> [B, H, W, C]."""
  return jnp.repeat(jnp.repeat(x, size[0] // x.shape[1], 1), size[1] // x.shape[2], 2)


class ConditioningStack(nn.Module):
  """Upper levels' codes to features at the size of the finest of them.

  Attributes:
    num_codes: K of each level, the topmost first.
    channels: C, the width of the stack.
    hidden: channels inside its residual blocks.
    num_blocks: number of residual blocks.
    dropout: their rate when `train=True` (rng collection "dropout").
    dtype: compute dtype.
    param_dtype: dtype of the parameters.
  """

  num_codes: tuple[int, ...]
  channels: int
  hidden: int
  num_blocks: int
  dropout: float
  dtype: DTypeLike
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    taps = tuple(product((-1, 0, 1), repeat=2))
    scale = 1 / len(self.num_codes)  # so that the sum over levels has unit variance
    self.levels = [CodeConv(K, self.channels, taps, scale=scale, **types) for K in self.num_codes]
    self.blocks = [
      GatedResidual(self.hidden, kernel_size=3, dropout=self.dropout, **types)
      for _ in range(self.num_blocks)
    ]

  def __call__(self, codes: tuple[jax.Array, ...], *, train: bool) -> jax.Array:
    """int32[B, h, w] a level -> [B, h, w, C] at the size of the last one."""
    size = codes[-1].shape[1:]
    x = jnp.zeros((), self.dtype)
    for convolve, level in zip(self.levels, codes, strict=True):
      x = x + upsample(convolve(level), size)
    for block in self.blocks:
      x = block(x, train=train)
    return x


def _integers(name: str, x: ArrayLike) -> jax.Array:
  try:
    x = jnp.asarray(x)
  except (TypeError, ValueError):
    raise ValueError(f"{name} are {_describe(x)}; they must be an array of integers") from None
  if not jnp.issubdtype(x.dtype, jnp.integer):
    raise ValueError(f"{name} are {x.dtype}; they must be integers")
  return x.astype(jnp.int32)


def _describe(x: object) -> str:
  if x is None:
    return "None"
  if hasattr(x, "dtype") and hasattr(x, "shape"):
    return f"{x.dtype}{list(x.shape)}"
  return f"a {type(x).__name__}"


def _by(size: tuple[int, ...]) -> str:
  return "x".join(map(str, size))
