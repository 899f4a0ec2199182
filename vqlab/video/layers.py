"""What the networks for clips share: their units, their heads, and what they return.

Every network is a Linen module that takes a clip [B, T, H, W, C] of floating point and gives logits

    logits = model.apply(variables, clip)
    logits, updates = model.apply(
      variables, clip, train=True, axis_name=None, rows=None, rngs={"dropout": key},
      mutable=["batch_stats"],
    )
    found = model.apply(variables, clip, features=True)       # Features: stages, pooled, logits

`rows` i32[B] are the clips' places in the batch over all devices, by which dropout is drawn; None:
0, 1, ... It has the fields

    num_classes     logits a clip, or a location
    head            "global": [B, num_classes]; "dense": one for each window, [B, T', H', W', K]
    pool            what a window of the head covers of the last map, (T, H, W), moved by 1; where
                    the map is smaller, or an entry is 0, all of it (SlowFast's has H and W alone)
    dropout         rate before the classifier, in training
    padding         "centred" or "same", of convolutions and pools: see `vqlab.nn.conv3d_layers`
    epsilon, momentum           of batch norms
    dtype, param_dtype          compute dtype (norms, pools of heads and logits have float32 at
                                least), dtype of the parameters

"global" is the mean of "dense": the published evaluations of clips larger than those of training
take it of the logits (pytorchvideo, I3D) or of the softmaxes of "dense" (PySlowFast).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike

from vqlab.nn.checks import one_of, windows_fit
from vqlab.nn.conv3d_layers import ConvNorm, Padding, padding_of
from vqlab.nn.dropout import Dropout
from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.patches3d import Triple
from vqlab.nn.pool3d import max_pool3d

Unit = Callable[..., ConvNorm]  # ConvNorm with a network's padding, norms and types
Heads = Literal["global", "dense"]


class Features(NamedTuple):
  """What a network says of clips; under jit what is not used costs nothing."""

  # by name, [B, T', H', W', C]; of a network with two pathways a pair of them
  stages: dict[str, jax.Array | tuple[jax.Array, jax.Array]]
  pooled: jax.Array  # [B, C] or, with a dense head, [B, T', H', W', C]: what the classifier reads
  logits: jax.Array  # [B, num_classes] or [B, T', H', W', num_classes]


def check(
  network: Any, clip: jax.Array, *, frames: int = 1, stages: tuple[str, ...] = ("depths",)
) -> None:
  """Checks what every network is given; `stages` are the fields with an entry a stage.

  Raises:
    ValueError: the clip is not [B, T, H, W, C] of floats with enough frames, or a field can't be.
  """
  name = type(network).__name__
  if clip.ndim != 5 or clip.shape[1] < frames:
    enough = f" of at least {frames} frames" if frames > 1 else ""
    raise ValueError(f"{name}: a clip must be [B, T, H, W, C]{enough}; found {list(clip.shape)}")
  if not jnp.issubdtype(clip.dtype, jnp.floating):
    raise ValueError(f"{name}: a clip must be floating point, normalized; found {clip.dtype}")
  one_of(f"{name}: head", network.head, ("global", "dense"))
  one_of(f"{name}: padding", network.padding, ("centred", "same"))
  lengths = {field: len(getattr(network, field)) for field in stages}
  if len(set(lengths.values())) > 1:
    found = ", ".join(f"{field} {length}" for field, length in lengths.items())
    raise ValueError(f"{name}: these fields need an entry a stage each; found {found}")


def unit_of(network: nn.Module) -> Unit:
  """Convolution, norm and ReLU with a network's padding, norms and types."""
  return partial(
    ConvNorm,
    padding=network.padding,
    epsilon=network.epsilon,
    momentum=network.momentum,
    dtype=network.dtype,
    param_dtype=network.param_dtype,
  )


def max_pool(
  x: jax.Array, window: Triple, stride: Triple, padding: Padding = "centred"
) -> jax.Array:
  """`max_pool3d` with padding by name."""
  padding = padding_of(padding, x.shape[1:4], window, stride)
  return max_pool3d(x, window, stride=stride, padding=padding)


def halve(x: jax.Array, window: Triple) -> jax.Array:
  """The mean of each window, side by side; what fills no window is left out."""
  windows_fit("mean", x.shape[1:4], window, ((0, 0),) * 3)
  (b, *size, c), (t, h, w) = x.shape, window
  n = [s // k for s, k in zip(size, window, strict=True)]
  x = x[:, : n[0] * t, : n[1] * h, : n[2] * w]
  return jnp.mean(x.reshape(b, n[0], t, n[1], h, n[2], w, c), axis=(2, 4, 6))


def mean_of_windows(x: jax.Array, window: Triple) -> jax.Array:
  """The mean of each window, moved by 1, float32 at least: [B, T, H, W, C] -> [B, T', H', W', C].

  A window of 0, or of more than there is, is all there is.
  """
  x = x.astype(at_least_float32(x.dtype))
  window = [min(k or n, n) for k, n in zip(window, x.shape[1:4], strict=True)]
  whole = tuple(i for i, (k, n) in enumerate(zip(window, x.shape[1:4], strict=True), 1) if k == n)
  x = jnp.mean(x, axis=whole, keepdims=True)
  window = [1 if i in whole else k for i, k in enumerate(window, 1)]
  if window == [1, 1, 1]:
    return x
  sums = lax.reduce_window(x, np.zeros((), x.dtype), lax.add, (1, *window, 1), (1,) * 5, "VALID")
  return sums / (window[0] * window[1] * window[2])


class Head(nn.Module):
  """The classifier over windows of the last maps; module fc."""

  num_classes: int
  kind: Heads
  dropout: float
  dtype: DTypeLike
  param_dtype: DTypeLike
  hidden: int = 0  # channels of a ReLU layer before the classifier, module hidden; 0: none

  @nn.compact
  def __call__(
    self,
    maps: tuple[jax.Array, ...],
    windows: tuple[Triple, ...],
    *,
    train: bool,
    rows: jax.Array | None,
  ) -> tuple[jax.Array, jax.Array]:
    """Maps with equally many windows each -> (what the classifier reads, logits)."""
    pooled = [mean_of_windows(x, window) for x, window in zip(maps, windows, strict=True)]
    x = jnp.concatenate(pooled, axis=-1)
    types = {"dtype": at_least_float32(self.dtype), "param_dtype": self.param_dtype}
    if self.hidden:
      x = nn.relu(nn.Dense(self.hidden, use_bias=False, name="hidden", **types)(x))
    pooled = x
    x = Dropout(self.dropout)(x, train=train, rows=rows)
    init = nn.initializers.normal(0.01)
    x = nn.Dense(self.num_classes, kernel_init=init, name="fc", **types)(x)
    if self.kind == "global":
      pooled, x = (jnp.mean(a, axis=(1, 2, 3)) for a in (pooled, x))
    return pooled, x


def answer(
  network: Any,
  stages: dict[str, Any],
  maps: tuple[jax.Array, ...],
  windows: tuple[Triple, ...],
  *,
  train: bool,
  rows: jax.Array | None,
  features: bool,
  hidden: int = 0,
) -> jax.Array | Features:
  """A network's logits, or all its features."""
  head = Head(
    network.num_classes,
    network.head,
    network.dropout,
    network.dtype,
    network.param_dtype,
    hidden,
    name="head",
  )
  pooled, logits = head(maps, windows, train=train, rows=rows)
  return Features(stages, pooled, logits) if features else logits
