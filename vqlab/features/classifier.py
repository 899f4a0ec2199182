"""Classifiers that judge samples: small enough to train on the data at hand.

Where no published network knows the data (digits, game frames, codes), its features take the place
of Inception's in FID, Inception Score and precision / recall, and its verdict on samples of a known
class says whether they show it.

Shapes: B batch, H W space, C channels, F features, Y classes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vqlab.nn.dtypes import at_least_float32


class _Norm(nn.Module):
  """Group norm over groups of 8 channels, in float32 at least, then ReLU in the dtype given."""

  dtype: DTypeLike
  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    wide = at_least_float32(self.dtype)
    norm = nn.GroupNorm(num_groups=None, group_size=8, dtype=wide, param_dtype=self.param_dtype)
    return nn.relu(norm(x.astype(wide))).astype(self.dtype)


class _Residual(nn.Module):
  """x + (norm, ReLU, 3x3, norm, ReLU, 3x3)(x); halved by a stride where it is 2."""

  features: int
  stride: int
  dtype: DTypeLike
  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    y = _Norm(**types)(x)
    if self.stride > 1 or x.shape[-1] != self.features:
      x = nn.Conv(self.features, (1, 1), self.stride, use_bias=False, **types)(y)
    y = nn.Conv(self.features, (3, 3), self.stride, use_bias=False, **types)(y)
    return x + nn.Conv(self.features, (3, 3), use_bias=False, **types)(_Norm(**types)(y))


class SmallClassifier(nn.Module):
  """A residual network (He et al. 2016, arXiv 1603.05027) with group in place of batch norms.

  So examples never influence each other, and all it holds is params.

      model = SmallClassifier(num_classes=10)
      params = model.init(key, images)["params"]
      logits = model.apply({"params": params}, images, train=True, rngs={"dropout": key})
      features = model.apply({"params": params}, images, method="features")      # [B, F]

  Attributes:
    num_classes: Y.
    widths: channels of each stage, multiples of 8; each but the first halves the map. F is the
      last.
    blocks: residual blocks a stage.
    dropout: rate, on the features, while training.
    dtype: of the computation; param_dtype: of the parameters.
  """

  num_classes: int
  widths: tuple[int, ...] = (32, 64, 128)
  blocks: int = 2
  dropout: float = 0.1
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    if not self.widths or any(width < 8 or width % 8 for width in self.widths):
      raise ValueError(f"SmallClassifier: widths is {self.widths}; all must be multiples of 8")
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    self.stem = nn.Conv(self.widths[0], (3, 3), use_bias=False, **types)
    self.stages = [
      _Residual(width, 2 if stage and not block else 1, **types)
      for stage, width in enumerate(self.widths)
      for block in range(self.blocks)
    ]
    self.norm = _Norm(**types)
    self.drop = nn.Dropout(self.dropout)
    self.head = nn.Dense(
      self.num_classes, dtype=at_least_float32(self.dtype), param_dtype=self.param_dtype
    )

  def features(self, images: jax.Array) -> jax.Array:
    """What the last layer reads, float32 at least: [B, H, W, C] -> [B, F].

    Args:
      images: H and W at least 8. Bytes are scaled to [-1/2, 1/2], floats taken as they are.
    """
    if images.ndim != 4 or min(images.shape[1:3]) < 8:
      raise ValueError(
        f"SmallClassifier: images must be [B, H, W, C], H and W 8 at least; found {images.shape}"
      )
    x = images.astype(self.dtype)
    x = self.stem(x / 255 - 0.5 if images.dtype == jnp.uint8 else x)
    for block in self.stages:
      x = block(x)
    return jnp.mean(self.norm(x).astype(at_least_float32(self.dtype)), axis=(1, 2))

  def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Logits, float32 at least: [B, H, W, C] -> [B, Y]. With train a "dropout" key is needed."""
    return self.head(self.drop(self.features(images), deterministic=not train))


class LinearClassifier(nn.Module):
  """Logistic regression, on features [B, F] or the pixels of images: [B, ...] -> [B, Y].

  Attributes:
    num_classes: Y.
    dtype: of the computation; None: float32, or float64 of inputs that are.
    param_dtype: of the parameters. Logits are float32 at least.
  """

  num_classes: int
  dtype: DTypeLike | None = None
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    del train
    dtype = at_least_float32(x.dtype) if self.dtype is None else self.dtype
    scaled = x.astype(jnp.float32) / 255 - 0.5 if x.dtype == jnp.uint8 else x
    dense = nn.Dense(self.num_classes, dtype=dtype, param_dtype=self.param_dtype)
    return dense(scaled.reshape(x.shape[0], -1)).astype(at_least_float32(dtype))


class MLPClassifier(nn.Module):
  """A fully connected network with ReLUs, on features [B, F] or on pixels: [B, ...] -> [B, Y].

  Attributes:
    num_classes: Y.
    hidden: widths of the hidden layers.
    dtype: of the computation; param_dtype: of the parameters. Logits are float32 at least.
  """

  num_classes: int
  hidden: tuple[int, ...] = (256, 256)
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    scaled = x.astype(self.dtype) / 255 - 0.5 if x.dtype == jnp.uint8 else x
    x = scaled.reshape(x.shape[0], -1).astype(self.dtype)
    for width in self.hidden:
      x = nn.relu(nn.Dense(width, dtype=self.dtype, param_dtype=self.param_dtype)(x))
    wide = at_least_float32(self.dtype)
    head = LinearClassifier(self.num_classes, dtype=wide, param_dtype=self.param_dtype)
    return head(x, train)
