"""C3D: eight 3x3x3 convolutions with biases and without norms, two hidden layers.

    Tran et al. 2015, arXiv 1412.0767, as mmaction2 has it: the last pool pads H and W by 1 on both
    sides, 7 -> 4. Clips have one size, 16 x 112 x 112 where the hidden layers read 1 x 4 x 4 maps.

Modules are conv1a, conv2a, conv3a, conv3b, ..., fc6, fc7, head. Stages are conv1 ... conv5, each
before its pool.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn.conv3d_layers import Conv3D, NamedPadding
from vqlab.nn.dropout import Dropout
from vqlab.nn.patches3d import Padding3D, Triple
from vqlab.video.layers import Features, Heads, answer, check, max_pool


class C3D(nn.Module):
  """C3D; of the fields that all networks have (`vqlab/video/layers.py`) it has no norm's.

  Attributes:
    widths: of the convolutions, by stage.
    pools: windows and strides of the max-pools after the stages.
    hidden: widths of the two hidden layers.
    last_padding: of the last pool.
  """

  num_classes: int = 487
  widths: tuple[tuple[int, ...], ...] = ((64,), (128,), (256, 256), (512, 512), (512, 512))
  pools: tuple[Triple, ...] = ((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
  hidden: tuple[int, int] = (4096, 4096)
  last_padding: Padding3D = ((0, 0), (1, 1), (1, 1))
  head: Heads = "global"
  dropout: float = 0.5
  padding: NamedPadding = "centred"
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    clip: jax.Array,
    *,
    train: bool = False,
    axis_name: str | None = None,
    rows: jax.Array | None = None,
    features: bool = False,
  ) -> jax.Array | Features:
    """[B, T, H, W, C] -> logits, or Features; see `vqlab/video/layers.py`."""
    check(self, clip, stages=("widths", "pools"))
    del axis_name  # no norm
    types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    conv = partial(Conv3D, kernel_size=(3, 3, 3), padding=self.padding, use_bias=True, **types)
    x, stages = clip.astype(self.dtype), {}
    none, last = ((0, 0),) * 3, len(self.widths)
    for i, (widths, window) in enumerate(zip(self.widths, self.pools, strict=True), 1):
      for j, width in enumerate(widths):
        x = nn.relu(conv(width, name=f"conv{i}{chr(ord('a') + j)}")(x))
      stages[f"conv{i}"] = x
      x = max_pool(x, window, window, self.last_padding if i == last else none)
    self._check_size(x.shape)
    x = x.reshape(x.shape[0], 1, 1, 1, -1)
    init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
    for i, width in enumerate(self.hidden):
      x = nn.relu(nn.Dense(width, kernel_init=init, name=f"fc{i + 6}", **types)(x))
      if i + 1 < len(self.hidden):  # the head drops before the classifier
        x = Dropout(self.dropout)(x, train=train, rows=rows)
    return answer(self, stages, (x,), ((1, 1, 1),), train=train, rows=rows, features=features)

  def _check_size(self, shape: tuple[int, ...]) -> None:
    """The hidden layers' weights are of one size of clips."""
    kernel, found = self.get_variable("params", "fc6", {}).get("kernel"), math.prod(shape[1:])
    if kernel is not None and kernel.shape[0] != found:
      raise ValueError(
        f"C3D has one size of clips: these weights read maps of {kernel.shape[0]} numbers; this "
        f"clip gives {found}, {list(shape[1:])}"
      )
