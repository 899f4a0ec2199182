"""PixelSNAIL: causal convolutions and attention over a map of codes; the priors of VQ-VAE-2.

Chen et al., "PixelSNAIL: An Improved Autoregressive Generative Model", 2017 (arXiv 1712.09763), in
the form that rosinality's vq-vae-2-pytorch gave it for the codes of VQ-VAE-2 (Razavi et al. 2019,
arXiv 1906.00446), whose checkpoints `vqlab.interop.pixelsnail` converts. With U_l, V_l strictly
causal convolutions (`vqlab.nn.strict`), e = ELU, c the upsampled output of the conditioning stack,
y the label's bias, bg the position's two coordinates and [..] concatenation, a block of R layers is

    u_l = U_l * e(x_l)          g_l = V_l * e(u_l) + P_l c + y_l         x_l+1 = x_l + glu(g_l)
    k = gated[x_0, x_R, bg]     q = gated[x_R, bg]     a = attention to the k of earlier positions
    x_0 of the next block = x_R + glu(W' e(W [e(x_R), e(a)]))

where `gated` is a gated residual block of 1x1 products; a block without attention ends in a 1x1
product of [x_R, bg]. Gated 1x1 blocks (the output stack), ELU and a 1x1 product give the logits.
Without attention there is a blind spot, by the shape of the kernels: a code m rows up and more than
r m columns to the right is never read, however many layers there are.
The paper reports 4 blocks of 5 layers with attention for its top prior, and none for its bottom
prior.

Sampling with the cache. Neither U nor V read their own position, so u_l and g_l of a position
follow, for all the layers at once, from what earlier positions left in the cache: `begin_row` does
the rows above for a whole row, `step` the columns to the left, each as one product over stacked
weights. Only the 1x1 products and the attention are done block after block.

Letters: B batch, H W space, K codes, C channels, R hidden channels of a layer, L layers, N blocks,
k = kernel_size, r = k // 2.
"""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike, DTypeLike

from vqlab.nn import checks
from vqlab.nn.attention import AttentionCache
from vqlab.nn.codes import CodeConv
from vqlab.nn.dense import Dense
from vqlab.nn.dtypes import at_least_float32
from vqlab.nn.gated import GatedResidual, glu
from vqlab.nn.strict import StrictCausalConvs, strict_conv
from vqlab.priors.conditions import (
  ConditioningStack,
  Conditions,
  as_conditions,
  checked_conditions,
  upsample,
)
from vqlab.priors.snail_block import SnailBlock


class PixelSNAILCache(NamedTuple):
  """What sampling remembers. Pairs are of what a layer's two convolutions read, e(x) and e(u)."""

  above: tuple[jax.Array, jax.Array]  # [2r, W, L, B, C], [2r, W, L, B, R]  rows above, newest last
  row: tuple[jax.Array, jax.Array]  # [W, L, B, C], [W, L, B, R]  this row, only written in steps
  left: tuple[jax.Array, jax.Array]  # [r, L, B, C], [r, L, B, R]  the columns to the left again
  embedded: jax.Array  # [W, B, C]  what the codes of the rows above add to x_0 of this row
  known: tuple[jax.Array, jax.Array]  # [W, L, B, R], [W, L, B, 2C]  ... to its u and g
  attention: tuple[AttentionCache, ...]  # one a block with attention, of H * W positions
  gates: jax.Array | None  # [h, w or 1, L, B, 2C]  P c + y, as coarse as the finest upper level


class PixelSNAIL(nn.Module):
  """PixelSNAIL over int32 codes [B, H, W]; the defaults are rosinality's.

  `logits(codes, cond)` is teacher-forced; `init_cache`, `begin_row` and `step` give the same
  logits position by position (the cache protocol of `vqlab.priors`).

  Attributes:
    num_codes: K, the size of the codebook.
    num_classes: number of labels; 0 is a model that takes none.
    channels: C, the width of the residual stream.
    kernel_size: k, odd and at least 3.
    num_blocks: N.
    num_res_blocks: layers a block; L is N times this.
    res_channels: R, hidden channels of a layer.
    attention: whether a block ends in attention.
    num_heads: heads of the attention; they divide attention_channels.
    attention_channels: width of queries, keys and values; None: half of `channels`.
    dropout: rate when `train=True`; needs the rng collection "dropout".
    num_out_blocks: gated 1x1 blocks before the logits.
    out_res_channels: their hidden channels; None: res_channels.
    upper_codes: K of each upper level that the model is conditioned on, the topmost first.
    num_cond_blocks: residual blocks of the conditioning stack.
    cond_channels: its width.
    cond_res_channels: its hidden channels; None: cond_channels.
    dtype: compute dtype; None takes that of the parameters. Softmaxes are float32 or more.
    param_dtype: dtype of the parameters. Logits have this dtype, and never less than float32.
  """

  num_codes: int = 512
  num_classes: int = 0
  channels: int = 256
  kernel_size: int = 5
  num_blocks: int = 4
  num_res_blocks: int = 4
  res_channels: int = 256
  attention: bool = True
  num_heads: int = 8
  attention_channels: int | None = None
  dropout: float = 0.1
  num_out_blocks: int = 0
  out_res_channels: int | None = None
  upper_codes: tuple[int, ...] = ()
  num_cond_blocks: int = 3
  cond_channels: int = 256
  cond_res_channels: int | None = None
  dtype: DTypeLike | None = None
  param_dtype: DTypeLike = jnp.float32

  def __post_init__(self) -> None:
    # Not later: Linen makes tuples of lists inside of `init`, and outside no list can be hashed.
    if not isinstance(self.upper_codes, tuple):
      raise ValueError(f"upper_codes is {self.upper_codes!r}; it must be a tuple of K a level")
    super().__post_init__()

  def setup(self) -> None:
    self.check_fields()
    C, R, k, r = self.channels, self.res_channels, self.kernel_size, self.kernel_size // 2
    types = {"dtype": self.compute_dtype, "param_dtype": self.param_dtype}
    above, left = (
      tuple(product(range(-r, 0), range(-r, r + 1))),
      tuple((0, j) for j in range(-r, 0)),
    )
    share = len(above) / (len(above) + len(left))
    self.embed_above = CodeConv(self.num_codes, C, above, scale=share, **types)
    self.embed_left = CodeConv(self.num_codes, C, left, scale=1 - share, **types)
    self.first = StrictCausalConvs(self.num_layers, C, R, k, **types)
    self.second = StrictCausalConvs(self.num_layers, R, 2 * C, k, **types)
    block = (C, self.attention, self.num_heads, self.attended, self.dropout, *types.values())
    self.blocks = [SnailBlock(*block) for _ in range(self.num_blocks)]
    self.drop = nn.Dropout(self.dropout)
    hidden = R if self.out_res_channels is None else self.out_res_channels
    self.out_blocks = [
      GatedResidual(hidden, dropout=self.dropout, **types) for _ in range(self.num_out_blocks)
    ]
    # A new model's logits are nearly uniform: their variance is a hundredth of the inputs'.
    init = nn.initializers.variance_scaling(0.01, "fan_in", "normal")
    logits = {"dtype": self.logits_dtype, "param_dtype": self.param_dtype}
    self.to_logits = Dense(self.num_codes, kernel_init=init, **logits)
    if self.num_classes:
      # Large enough to matter to a gate from the first step on: labels are learned late otherwise.
      init = nn.initializers.normal(0.5)
      size = self.num_layers * 2 * C
      self.labels = nn.Embed(self.num_classes, size, embedding_init=init, **types)
    if self.upper_codes:
      hidden = self.cond_channels if self.cond_res_channels is None else self.cond_res_channels
      self.cond_stack = ConditioningStack(
        self.upper_codes, self.cond_channels, hidden, self.num_cond_blocks, self.dropout, **types
      )
      init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=0)
      shape = (self.num_layers, self.cond_channels, 2 * C)
      self.cond_gates = self.param("cond_gates", init, shape, self.param_dtype)

  @property
  def num_layers(self) -> int:
    return self.num_blocks * self.num_res_blocks

  @property
  def attended(self) -> int:
    """A, the width of queries, keys and values."""
    return self.channels // 2 if self.attention_channels is None else self.attention_channels

  @property
  def compute_dtype(self) -> DTypeLike:
    return self.param_dtype if self.dtype is None else self.dtype

  @property
  def logits_dtype(self) -> DTypeLike:
    return at_least_float32(self.compute_dtype, self.param_dtype)

  @nn.nowrap
  def cond_ranges(
    self, cond: ArrayLike | Conditions | None
  ) -> list[tuple[str, ArrayLike | None, int]]:
    """(name, integers, size) of everything in `cond` that must lie in [0, size).

    Raises:
      ValueError: a field of the model is not possible.
    """
    self.check_fields()  # before the model, as a static argument, is hashed
    labels, codes, _ = as_conditions(cond)
    codes = zip(codes if isinstance(codes, tuple | list) else (), self.upper_codes, strict=False)
    levels = [(f"upper codes {n}", level, K) for n, (level, K) in enumerate(codes)]
    return [("labels", labels, self.num_classes), *levels]

  def __call__(
    self, codes: jax.Array, cond: ArrayLike | Conditions | None = None, *, train: bool = False
  ) -> jax.Array:
    """The same as `logits`."""
    return self.logits(codes, cond, train=train)

  def logits(
    self, codes: jax.Array, cond: ArrayLike | Conditions | None = None, *, train: bool = False
  ) -> jax.Array:
    """Logits of every code given the codes before it in raster order.

    Args:
      codes: int32[B, H, W]; 0 <= codes < K.
      cond: `Conditions`; without upper levels also labels int[B], or None.
      train: whether dropout is on.

    Returns:
      [B, H, W, K], in float32 or more.

    Raises:
      ValueError: codes, labels or upper codes have the wrong shape or type, are missing, or are
        not expected.
    """
    _check_shape(codes.shape)
    if not jnp.issubdtype(codes.dtype, jnp.integer):
      raise ValueError(f"codes are {codes.dtype}; they must be integers")
    codes = codes.astype(jnp.int32)
    features, biases = self._told(cond, codes.shape, train=train)
    x = self.embed_above(codes) + self.embed_left(codes)
    _, H, W = codes.shape
    places = self._places(codes.shape, jnp.arange(H)[:, None], jnp.arange(W))
    kernels = zip(self.first.kernels(), self.second.kernels(), strict=True)
    cond_gates = None if features is None else jnp.unstack(self._cond_gates)
    for n, block in enumerate(self.blocks):
      start = x
      for layer in range(n * self.num_res_blocks, (n + 1) * self.num_res_blocks):
        first, second = next(kernels)
        hidden = self.drop(nn.elu(strict_conv(nn.elu(x), first)), deterministic=not train)
        gate = strict_conv(hidden, second)
        if features is not None:
          gate = gate + upsample(features @ cond_gates[layer], (H, W))
        if biases is not None:
          gate = gate + biases[layer][:, None, None]
        x = x + glu(gate)
      x = block(start, x, places, train)
    return self._head(x, train=train)

  def init_cache(
    self, shape: tuple[int, ...], cond: ArrayLike | Conditions | None = None
  ) -> PixelSNAILCache:
    """The cache before the first row, for codes of `shape`; raises as `logits` does."""
    _check_shape(shape)
    B, H, W = shape
    L, C, R, r = self.num_layers, self.channels, self.res_channels, self.kernel_size // 2

    features, gates = self._told(cond, shape, train=False)
    if features is not None:
      of_codes = jnp.einsum("bhwc,lcf->hwlbf", features, self._cond_gates)
      gates = of_codes if gates is None else of_codes + gates
    elif gates is not None:
      gates = gates[None, None]

    def zeros(*shape: int) -> jax.Array:
      return jnp.zeros(shape, self.compute_dtype)

    return PixelSNAILCache(
      above=tuple(zeros(2 * r, W, L, B, size) for size in (C, R)),
      row=tuple(zeros(W, L, B, size) for size in (C, R)),
      left=tuple(zeros(r, L, B, size) for size in (C, R)),
      embedded=zeros(W, B, C),
      known=tuple(zeros(W, L, B, size) for size in (R, 2 * C)),
      attention=tuple(b.init_cache(B, H * W) for b in self.blocks if self.attention),
      gates=gates,
    )

  def begin_row(self, cache: PixelSNAILCache, codes: jax.Array, row: jax.Array) -> PixelSNAILCache:
    """All that the rows above add to one row, in every layer; the cost is O(W)."""
    row = jnp.asarray(row, jnp.int32)
    _, H, W = codes.shape
    above = tuple(
      jnp.concatenate([rows[1:], new[None]])
      for rows, new in zip(cache.above, cache.row, strict=True)
    )
    hidden, gates = self.first.row(above[0]), self.second.row(above[1])
    if cache.gates is not None:
      coarse = jax.lax.dynamic_index_in_dim(
        cache.gates, row // (H // cache.gates.shape[0]), keepdims=False
      )
      gates = gates + jnp.repeat(coarse, W // coarse.shape[0], 0)
    embedded = self.embed_above.at(codes, row, jnp.arange(W, dtype=jnp.int32))
    return cache._replace(
      above=above,
      left=tuple(map(jnp.zeros_like, cache.left)),
      embedded=embedded.transpose(1, 0, 2),
      known=(hidden, gates),
    )

  def step(
    self, cache: PixelSNAILCache, codes: jax.Array, row: jax.Array, index: jax.Array
  ) -> tuple[PixelSNAILCache, jax.Array]:
    """Logits [B, K] of one position; but for attention, its cost depends on no map size.

    The steps of a row are taken in order from 0, each after the code before it is in `codes`.
    """
    row, column = jnp.asarray(row, jnp.int32), jnp.asarray(index, jnp.int32)

    def at_column(x: jax.Array) -> jax.Array:
      return jax.lax.dynamic_index_in_dim(x, column, keepdims=False)

    known = map(at_column, cache.known)
    hidden = next(known) + self.first.position(cache.left[0])  # [L, B, R]
    branches = glu(next(known) + self.second.position(cache.left[1]))  # [L, B, C]
    x = at_column(cache.embedded) + self.embed_left.at(codes, row, column[None])[:, 0]
    places = self._places(codes.shape, row, column)
    inputs, attention = [], []
    for n, block in enumerate(self.blocks):
      start = x
      for layer in range(n * self.num_res_blocks, (n + 1) * self.num_res_blocks):
        inputs.append(x)
        x = x + branches[layer]
      earlier = cache.attention[n] if self.attention else None
      later, x = block.step(earlier, start, x, places, row * codes.shape[2] + column)
      attention += [later] if self.attention else []
    new = (nn.elu(jnp.stack(inputs)), nn.elu(hidden))
    cache = cache._replace(
      row=tuple(map(lambda old, x: old.at[column].set(x), cache.row, new)),
      left=tuple(map(lambda old, x: jnp.concatenate([old[1:], x[None]]), cache.left, new)),
      attention=tuple(attention),
    )
    return cache, self._head(x, train=False)

  def _head(self, x: jax.Array, *, train: bool) -> jax.Array:
    """[..., C] -> logits [..., K]."""
    for block in self.out_blocks:
      x = block(x, train=train)
    return self.to_logits(nn.elu(x))

  def _places(self, shape: tuple[int, ...], rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Coordinates in [-1/2, 1/2) of rows and columns that broadcast together: [..., 2]."""
    both = [
      (x.astype(self.logits_dtype) - size / 2) / size
      for x, size in zip((rows, columns), shape[1:], strict=True)
    ]
    return jnp.stack(jnp.broadcast_arrays(*both), -1).astype(self.compute_dtype)

  def _told(
    self, cond: ArrayLike | Conditions | None, shape: tuple[int, ...], *, train: bool
  ) -> tuple[jax.Array | None, jax.Array | None]:
    """The conditioning stack's output [B, h, w, Cc], and the labels' biases [L, B, 2C]."""
    levels = len(self.upper_codes)
    labels, codes, _ = checked_conditions(cond, shape, self.num_classes, levels)
    features = self.cond_stack(codes, train=train) if codes else None
    if labels is None:
      return features, None
    return features, self.labels(labels).reshape(shape[0], self.num_layers, -1).transpose(1, 0, 2)

  @property
  def _cond_gates(self) -> jax.Array:
    """[L, Cc, 2C] in the compute dtype."""
    return self.cond_gates.astype(self.compute_dtype)

  @nn.nowrap
  def check_fields(self) -> None:
    """Raises ValueError that names a field whose value is not possible."""
    least = dict.fromkeys(("num_codes", "channels", "num_blocks", "num_res_blocks"), 1)
    least |= {"res_channels": 1, "out_res_channels": 1, "num_classes": 0, "num_out_blocks": 0}
    if self.attention:
      least |= {"num_heads": 1, "attention_channels": 1}
    if self.upper_codes:
      least |= {"num_cond_blocks": 0, "cond_channels": 1, "cond_res_channels": 1}
    optional = ("out_res_channels", "attention_channels", "cond_res_channels")
    for name, smallest in least.items():
      value = getattr(self, name)
      if value is not None or name not in optional:
        checks.whole_number(name, value, least=smallest)
    for n, K in enumerate(self.upper_codes):
      checks.whole_number(f"upper_codes[{n}]", K, least=1)
    checks.whole_number("kernel_size", self.kernel_size, least=3)
    if self.kernel_size % 2 == 0:
      raise ValueError(f"kernel_size is {self.kernel_size}; it must be odd and at least 3")
    if self.attention and not self.attended:
      raise ValueError("channels is 1; attention to half as many needs at least 2")
    if self.attention and self.attended % self.num_heads:
      raise ValueError(
        f"num_heads is {self.num_heads}; it must divide the {self.attended} attention channels"
      )
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout is {self.dropout}; it must be in [0, 1)")


def _check_shape(shape: tuple[int, ...]) -> None:
  if len(shape) != 3:
    raise ValueError(f"codes have shape {list(shape)}; it must be [B, H, W]")
