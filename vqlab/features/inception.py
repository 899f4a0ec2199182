"""Inception-v3 as FID and Inception Score use it (Szegedy et al. 2015, arXiv 1512.00567).

The network of the graph `inception-2015-12-05` that the first FID code ran, whose weights both
pytorch-fid and torch-fidelity publish as `pt_inception-2015-12-05`; `vqlab.interop` reads them. It
differs from torchvision's network in three places:

- average pooling in the blocks A, C and the first E leaves padded zeros out of the average;
- the last block E pools by maximum where the others average;
- there are 1008 logits.

The Inception Score of torch-fidelity takes the logits without their bias. Modules bear the names of
those state dicts. Inference only: batch statistics are read, never updated.

    variables = interop.from_torch("inception_v3", state_dict)
    out = InceptionV3().apply(variables, inception_images(images))
    out.pool                # [B, 2048]; under jit the outputs that are not used cost nothing

Shapes: B batch, H W space, C channels.
"""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from vqlab.nn.dtypes import at_least_float32

INPUT_SIZE = 299


class InceptionOutput(NamedTuple):
  """What the network says, float32 at least; the features are means over positions."""

  pool_64: jax.Array  # [B, 64]    after the first max pooling
  pool_192: jax.Array  # [B, 192]   after the second
  pool_768: jax.Array  # [B, 768]   after the last block of 17x17
  pool: jax.Array  # [B, 2048]  the features of FID
  logits_unbiased: jax.Array  # [B, 1008]  the logits of the Inception Score
  logits: jax.Array  # [B, 1008]


class _Conv(nn.Module):
  """Convolution without bias, batch normalization by stored statistics, ReLU."""

  features: int
  kernel: tuple[int, int] = (1, 1)
  stride: int = 1
  padding: Literal["SAME", "VALID"] = "SAME"
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32
  precision: lax.PrecisionLike = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = nn.Conv(
      self.features, self.kernel, self.stride, self.padding, use_bias=False,
      dtype=self.dtype, param_dtype=self.param_dtype, precision=self.precision, name="conv",
    )(x)  # fmt: skip
    wide = at_least_float32(self.dtype)
    types = {"dtype": wide, "param_dtype": at_least_float32(self.param_dtype)}
    norm = nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn", **types)
    return nn.relu(norm(x.astype(wide))).astype(self.dtype)


def _halve(x: jax.Array) -> jax.Array:
  return nn.max_pool(x, (3, 3), (2, 2), "VALID")


def _average(x: jax.Array) -> jax.Array:
  wide = x.astype(at_least_float32(x.dtype))
  return nn.avg_pool(wide, (3, 3), (1, 1), "SAME", count_include_pad=False).astype(x.dtype)


def _maximum(x: jax.Array) -> jax.Array:
  return nn.max_pool(x, (3, 3), (1, 1), "SAME")


class _Block(nn.Module):
  """What the blocks share: `chain` runs convolutions one after the other.

  A link is (name, features, kernel), or (name, features, kernel, stride) for one without padding.
  """

  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32
  precision: lax.PrecisionLike = None

  def chain(self, x: jax.Array, *links: tuple) -> jax.Array:
    t = {"dtype": self.dtype, "param_dtype": self.param_dtype, "precision": self.precision}
    for name, features, kernel, *stride in links:
      how = {"stride": stride[0], "padding": "VALID"} if stride else {}
      x = _Conv(features, kernel, name=name, **how, **t)(x)
    return x


class _A(_Block):
  pool_features: int = 32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    branches = [
      self.chain(x, ("branch1x1", 64, (1, 1))),
      self.chain(x, ("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))),
      self.chain(
        x,
        ("branch3x3dbl_1", 64, (1, 1)),
        ("branch3x3dbl_2", 96, (3, 3)),
        ("branch3x3dbl_3", 96, (3, 3)),
      ),
      self.chain(_average(x), ("branch_pool", self.pool_features, (1, 1))),
    ]
    return jnp.concatenate(branches, axis=-1)


class _B(_Block):
  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    branches = [
      self.chain(x, ("branch3x3", 384, (3, 3), 2)),
      self.chain(
        x,
        ("branch3x3dbl_1", 64, (1, 1)),
        ("branch3x3dbl_2", 96, (3, 3)),
        ("branch3x3dbl_3", 96, (3, 3), 2),
      ),
      _halve(x),
    ]
    return jnp.concatenate(branches, axis=-1)


class _C(_Block):
  width: int = 128

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    width = self.width
    branches = [
      self.chain(x, ("branch1x1", 192, (1, 1))),
      self.chain(
        x,
        ("branch7x7_1", width, (1, 1)),
        ("branch7x7_2", width, (1, 7)),
        ("branch7x7_3", 192, (7, 1)),
      ),
      self.chain(
        x,
        ("branch7x7dbl_1", width, (1, 1)),
        ("branch7x7dbl_2", width, (7, 1)),
        ("branch7x7dbl_3", width, (1, 7)),
        ("branch7x7dbl_4", width, (7, 1)),
        ("branch7x7dbl_5", 192, (1, 7)),
      ),
      self.chain(_average(x), ("branch_pool", 192, (1, 1))),
    ]
    return jnp.concatenate(branches, axis=-1)


class _D(_Block):
  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    branches = [
      self.chain(x, ("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3), 2)),
      self.chain(
        x,
        ("branch7x7x3_1", 192, (1, 1)),
        ("branch7x7x3_2", 192, (1, 7)),
        ("branch7x7x3_3", 192, (7, 1)),
        ("branch7x7x3_4", 192, (3, 3), 2),
      ),
      _halve(x),
    ]
    return jnp.concatenate(branches, axis=-1)


class _E(_Block):
  last: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    single = self.chain(x, ("branch3x3_1", 384, (1, 1)))
    double = self.chain(x, ("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3)))
    branches = [
      self.chain(x, ("branch1x1", 320, (1, 1))),
      self.chain(single, ("branch3x3_2a", 384, (1, 3))),
      self.chain(single, ("branch3x3_2b", 384, (3, 1))),
      self.chain(double, ("branch3x3dbl_3a", 384, (1, 3))),
      self.chain(double, ("branch3x3dbl_3b", 384, (3, 1))),
      self.chain((_maximum if self.last else _average)(x), ("branch_pool", 192, (1, 1))),
    ]
    return jnp.concatenate(branches, axis=-1)


class InceptionV3(nn.Module):
  """[B, H, W, 3] as `inception_images` gives it -> InceptionOutput. H and W are 75 at least.

  Attributes:
    num_classes: 1008 in the published weights.
    dtype: of the computation; published figures are float32.
    param_dtype: of the parameters; those of norms are float32 at least.
    precision: of its products. Accelerators' default leaves 10 or 8 bits of each float32.
  """

  num_classes: int = 1008
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32
  precision: lax.PrecisionLike = lax.Precision.HIGHEST

  def features(self, images: jax.Array) -> jax.Array:
    """The features of FID alone: [B, H, W, 3] in [-1, 1] -> [B, 2048]."""
    return self(images).pool

  @nn.compact
  def __call__(self, images: jax.Array) -> InceptionOutput:
    if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < 75:
      raise ValueError(
        f"InceptionV3: images must be [B, H, W, 3], H and W 75 at least; found {images.shape}"
      )
    if not jnp.issubdtype(images.dtype, jnp.floating):
      raise ValueError(f"InceptionV3: images are {images.dtype}; see features.inception_images")
    params = {"param_dtype": self.param_dtype, "precision": self.precision}
    t = {"dtype": self.dtype, **params}
    wide = at_least_float32(self.dtype)
    mean = lambda x: jnp.mean(x.astype(wide), axis=(1, 2))

    x = images.astype(self.dtype)
    x = _Conv(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3", **t)(x)
    x = _Conv(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3", **t)(x)
    x = _halve(_Conv(64, (3, 3), name="Conv2d_2b_3x3", **t)(x))
    pool_64 = mean(x)
    x = _Conv(80, (1, 1), name="Conv2d_3b_1x1", **t)(x)
    x = _halve(_Conv(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3", **t)(x))
    pool_192 = mean(x)
    for name, features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
      x = _A(pool_features=features, name=name, **t)(x)
    x = _B(name="Mixed_6a", **t)(x)
    widths = {"Mixed_6b": 128, "Mixed_6c": 160, "Mixed_6d": 160, "Mixed_6e": 192}
    for name, width in widths.items():
      x = _C(width=width, name=name, **t)(x)
    pool_768 = mean(x)
    x = _D(name="Mixed_7a", **t)(x)
    x = _E(name="Mixed_7b", **t)(x)
    x = _E(last=True, name="Mixed_7c", **t)(x)
    pool = mean(x)
    unbiased = nn.Dense(self.num_classes, use_bias=False, dtype=wide, name="fc", **params)(pool)
    bias = self.param("fc_bias", nn.initializers.zeros, (self.num_classes,), self.param_dtype)
    logits = unbiased + bias.astype(wide)
    return InceptionOutput(pool_64, pool_192, pool_768, pool, unbiased, logits)


def inception_images(
  images: jax.Array, *, convention: Literal["torch-fidelity", "pytorch-fid"] = "torch-fidelity"
) -> jax.Array:
  """Images of any size -> f32[B, 299, 299, 3] in [-1, 1] for `InceptionV3`.

  The two projects publish figures of the same weights but resize differently, and neither averages
  when it shrinks:

  - "torch-fidelity", as the TensorFlow 1 graph of the first FID code: bilinear, where pixel i of
    the output reads position i * size / 299 of the input (corners not aligned, no half-pixel
    centres), on bytes; then (x - 128) / 128.
  - "pytorch-fid": bilinear, where pixel i reads position (i + 1/2) * size / 299 - 1/2, from 0 up
    (`F.interpolate` with align_corners=False), on bytes / 255; then 2 x - 1.

  Both formulas were read in the projects' source. The graph and torch-fidelity take bytes alone:
  floats are scaled by 255 and not rounded, so to compare with published figures give the bytes.

  Args:
    images: u8[B, H, W, C], or floats in [0, 1]; C is 3, or 1, which is repeated.
    convention: whose figures to agree with.

  Raises:
    ValueError: another shape or dtype, or an unknown convention.
  """
  floating = jnp.issubdtype(images.dtype, jnp.floating)
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise ValueError(
      f"inception_images: images must be [B, H, W, 3] or [B, H, W, 1]; found {images.shape}"
    )
  if images.dtype != jnp.uint8 and not floating:
    raise ValueError(
      f"inception_images: images must be uint8, or floats in [0, 1]; found {images.dtype}"
    )
  if convention not in ("torch-fidelity", "pytorch-fid"):
    raise ValueError(
      f"inception_images: convention is {convention!r}; "
      "it must be 'torch-fidelity' or 'pytorch-fid'"
    )
  x = images.astype(jnp.float32)
  if images.shape[-1] == 1:
    x = jnp.repeat(x, 3, axis=-1)
  if convention == "torch-fidelity":
    x = _resize(x * 255 if floating else x, half_pixel_centres=False)
    return (x - 128) / 128
  return 2 * _resize(x if floating else x / 255, half_pixel_centres=True) - 1


def _resize(x: jax.Array, *, half_pixel_centres: bool) -> jax.Array:
  """Bilinear, [B, H, W, C] -> [B, 299, 299, C]."""
  for axis in (2, 1):
    size = x.shape[axis]
    position = jnp.arange(INPUT_SIZE, dtype=jnp.float32)
    scale = jnp.float32(size / INPUT_SIZE)
    if half_pixel_centres:
      position = jnp.maximum((position + 0.5) * scale - 0.5, 0)
    else:
      position = position * scale
    low = jnp.minimum(position.astype(jnp.int32), size - 1)
    weight = (position - low.astype(jnp.float32)).reshape(
      [-1 if a == axis else 1 for a in range(4)]
    )
    before = jnp.take(x, low, axis=axis)
    after = jnp.take(x, jnp.minimum(low + 1, size - 1), axis=axis)
    x = before + (after - before) * weight
  return x
