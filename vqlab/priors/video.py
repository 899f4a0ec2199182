"""An autoregressive prior over the codes of videos, predicted wholly in latent space.

van den Oord et al., "Neural Discrete Representation Learning", 2017 (arXiv 1711.00937, section
4.4): of six frames' codes the next ten are drawn, given the actions, without a look at the pixels.
As in Kalchbrenner et al., "Video Pixel Networks", 2016 (arXiv 1610.00527), what is known of earlier
frames is made once a frame, and conditions a PixelCNN over the frame's own codes. With z_t the
codes of frame t, p embeddings of positions, u_t what was done between frames t-1 and t, y a label:

    f_t = [embed(z_t), norm(residual 3x3 blocks(embed(z_t) + p))]  once frame t is known
    (s, b) = M elu(A u_t + y)                                      of action and label
    x_t = p (1 + s) + b + R f_t-1                                  f_-1: a learned vector
    c_t = norm(blocks(x_t; f_t-window .. f_t-1))                   `ContextBlock`
    p(z_t | z_<t) = PixelCNN(z_t | features c_t)                   vqlab/priors/pixelcnn.py

A block attends to all positions of the `window` frames before. p begin as pairs of waves over rows
and columns, and s multiplies each pair as a complex number: what an action turns them by is a shift
of the whole map, however far and around its edges, and it is known to the first query whatever is
there. A code's own embedding stays beside the blocks' output, so that what is found can be copied
from the first step of training on. A frame costs the same however many were drawn before it.

Letters: B batch, T frames, H W space, S = H W, M maps (B, or B T of them), K codes, A numbers an
action, C channels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike, DTypeLike

from vqlab.nn import checks
from vqlab.nn.conv import ResidualBlock
from vqlab.nn.dense import Dense
from vqlab.nn.norm import LayerNorm
from vqlab.nn.varying import vary_like
from vqlab.priors.conditions import Conditions, checked_conditions
from vqlab.priors.pixelcnn import PixelCNN, PixelCNNCache
from vqlab.priors.video_context import ContextBlock, turned, waves


class VideoConditions(NamedTuple):
  """The `cond` of a prior over videos."""

  labels: jax.Array | None = None  # i32[B]; None where the prior knows no classes
  actions: jax.Array | None = None  # f32[B, T, A]; [:, t] leads to frame t, [:, 0] is not looked at


class VideoPixelCNNCache(NamedTuple):
  """What sampling remembers; tuples hold one array a context block."""

  keys: tuple[jax.Array, ...]  # [B, window, S, C]  of the frames before this one, newest last
  values: tuple[jax.Array, ...]  # [B, window, S, C]
  labels: jax.Array | None  # i32[B]
  actions: jax.Array | None  # [B, T, A]  as they were given
  frame: PixelCNNCache  # of the frame that is being drawn


class VideoPixelCNN(nn.Module):
  """A prior over int32 codes [B, T, H, W]: frames in order, each in raster order.

  `logits(codes, cond)` is teacher-forced; `init_cache`, `begin_frame`, `begin_row` and `step` give
  the same logits position by position (the cache protocol of `vqlab.priors`).

  Attributes:
    num_codes: K, the size of the codebook.
    map_shape: (H, W), the only size of frames taken.
    num_classes: number of labels; 0 is a model that takes none.
    action_dim: A; 0 is a model that takes no actions.
    window: how many frames back a frame looks.
    channels: C, of the frames' features, of the context and of the decoder's stacks.
    num_encoder_blocks: residual blocks over a frame's codes.
    num_context_blocks: blocks that look back.
    num_heads: heads of their attention; they divide `channels`.
    num_layers, kernel_size, hidden: of the decoder, a `PixelCNN`.
    dropout: rate in the context and the decoder when `train=True` (rng collection "dropout").
    dtype: compute dtype; None takes that of the parameters. Softmaxes are float32 or more.
    param_dtype: dtype of the parameters. Logits have this dtype, and never less than float32.
  """

  num_codes: int
  map_shape: tuple[int, int]
  num_classes: int = 0
  action_dim: int = 0
  window: int = 4
  channels: int = 128
  num_encoder_blocks: int = 2
  num_context_blocks: int = 2
  num_heads: int = 4
  num_layers: int = 12
  kernel_size: int = 5
  hidden: int = 512
  dropout: float = 0.0
  dtype: DTypeLike | None = None
  param_dtype: DTypeLike = jnp.float32

  def __post_init__(self) -> None:
    # Not later: Linen makes tuples of lists inside of `init`, and outside no list can be hashed.
    if not (isinstance(self.map_shape, tuple) and len(self.map_shape) == 2):
      raise ValueError(f"map_shape is {self.map_shape!r}; it must be a tuple (H, W)")
    super().__post_init__()

  def setup(self) -> None:
    self._check_fields()
    C, types = self.channels, {"dtype": self.compute_dtype, "param_dtype": self.param_dtype}
    self.embed = nn.Embed(self.num_codes, C, embedding_init=nn.initializers.normal(1.0), **types)
    self.places = self.param("places", waves, (*self.map_shape, C), self.param_dtype)
    # At first features are of the position's own code, its neighbours come in as they are of use.
    self.encoder = [
      ResidualBlock(C, out_init=nn.initializers.zeros, **types)
      for _ in range(self.num_encoder_blocks)
    ]
    self.encoder_norm = LayerNorm(**types)
    if self.num_classes:
      init = nn.initializers.normal(1.0)
      self.labels = nn.Embed(self.num_classes, C, embedding_init=init, **types)
    if self.action_dim:
      self.actions = Dense(C, **types)
    if self.num_classes or self.action_dim:
      self.told = Dense(2 * C, **types)
    # A new model asks by position and action alone: what is there would only blur it.
    self.previous = Dense(C, use_bias=False, kernel_init=nn.initializers.zeros, **types)
    self.start = self.param("start", nn.initializers.normal(1.0), (2 * C,), self.param_dtype)
    block = (C, self.num_heads, self.window, self.dropout, *types.values())
    self.context = [ContextBlock(*block) for _ in range(self.num_context_blocks)]
    self.context_norm = LayerNorm(**types)
    self.decoder = PixelCNN(
      self.num_codes,
      map_shape=self.map_shape,
      num_features=C,
      channels=C,
      num_layers=self.num_layers,
      kernel_size=self.kernel_size,
      hidden=self.hidden,
      dropout=self.dropout,
      **types,
    )

  @property
  def compute_dtype(self) -> DTypeLike:
    return self.param_dtype if self.dtype is None else self.dtype

  @nn.nowrap
  def cond_ranges(
    self, cond: ArrayLike | VideoConditions | None
  ) -> list[tuple[str, ArrayLike | None, int]]:
    """(name, integers, size) of everything in `cond` that must lie in [0, size).

    Raises:
      ValueError: a field of the model is not possible.
    """
    self._check_fields()  # before the model, as a static argument, is hashed
    return [("labels", _as_conditions(cond).labels, self.num_classes)]

  def __call__(
    self,
    codes: jax.Array,
    cond: ArrayLike | VideoConditions | None = None,
    *,
    train: bool = False,
  ) -> jax.Array:
    """The same as `logits`."""
    return self.logits(codes, cond, train=train)

  def logits(
    self,
    codes: jax.Array,
    cond: ArrayLike | VideoConditions | None = None,
    *,
    train: bool = False,
  ) -> jax.Array:
    """Logits of every code given the frames before it, and the codes before it in its frame.

    All frames at once: the attention's scores are B * T * window * (H * W)^2 a head and block.

    Args:
      codes: int32[B, T, H, W]; 0 <= codes < K.
      cond: `VideoConditions`; without actions also labels int[B], or None.
      train: whether dropout is on.

    Returns:
      [B, T, H, W, K], in float32 or more.

    Raises:
      ValueError: codes, labels or actions have the wrong shape or type, are missing, or are not
        expected.
    """
    cond = self._checked(cond, codes.shape)
    if not jnp.issubdtype(codes.dtype, jnp.integer):
      raise ValueError(f"codes are {codes.dtype}; they must be integers")
    B, T, H, W = codes.shape
    frames = codes.astype(jnp.int32).reshape(B * T, H, W)
    features = self._encode(frames).reshape(B, T, H * W, -1)

    def before(x: jax.Array, count: int) -> jax.Array:
      """Of every frame the `count` frames before it: [B, T, S, F] -> [B T, count, S, F]."""
      x = jnp.pad(x, ((0, 0), (count, 0), (0, 0), (0, 0)))
      x = jnp.stack([x[:, n : n + T] for n in range(count)], axis=2)
      return x.reshape(B * T, *x.shape[2:])

    seen = [block.keys_values(features, self._places) for block in self.context]
    seen = [tuple(before(x, self.window) for x in pair) for pair in seen]
    number = jnp.tile(jnp.arange(T, dtype=jnp.int32), B)
    labels, actions = cond
    labels = None if labels is None else jnp.repeat(labels, T)
    actions = None if actions is None else actions.reshape(B * T, -1)
    context = self._context(
      before(features, 1)[:, 0], seen, number, VideoConditions(labels, actions), train=train
    )
    logits = self.decoder.logits(frames, Conditions(features=context), train=train)
    return logits.reshape(B, T, H, W, -1)

  def init_cache(
    self, shape: tuple[int, ...], cond: ArrayLike | VideoConditions | None = None
  ) -> VideoPixelCNNCache:
    """The cache before the first frame, for codes of `shape`; raises as `logits` does."""
    labels, actions = self._checked(cond, shape)
    B, _, H, W = shape

    def zeros() -> tuple[jax.Array, ...]:
      shape = (B, self.window, H * W, self.channels)
      return tuple(jnp.zeros(shape, self.compute_dtype) for _ in self.context)

    context = jnp.zeros((B, H, W, self.channels), self.compute_dtype)
    return VideoPixelCNNCache(
      keys=zeros(),
      values=zeros(),
      labels=labels,
      actions=actions,
      frame=self.decoder.init_cache((B, H, W), Conditions(features=context)),
    )

  def begin_frame(
    self, cache: VideoPixelCNNCache, codes: jax.Array, frame: jax.Array
  ) -> VideoPixelCNNCache:
    """Encodes the frame before this one, and what this one makes of it and of those before.

    Frames are begun in order from 0; the cost depends on `window`, and on no number of frames.
    """
    frame = jnp.asarray(frame, jnp.int32)
    B, _, H, W = codes.shape
    # Before frame 0 there is none: what is encoded in its place is no frame, and known to be none.
    features = self._encode(_frame_of(codes, jnp.maximum(frame - 1, 0)))
    features = jnp.where(frame > 0, features.reshape(B, H * W, -1), 0)
    new = zip(*(block.keys_values(features, self._places) for block in self.context), strict=True)
    keys, values = (
      tuple(jnp.concatenate([old[:, 1:], x[:, None]], axis=1) for old, x in zip(*pair, strict=True))
      for pair in zip((cache.keys, cache.values), new, strict=True)
    )
    actions = cache.actions
    if actions is not None:
      actions = jax.lax.dynamic_index_in_dim(actions, frame, axis=1, keepdims=False)
    context = self._context(
      features,
      list(zip(keys, values, strict=True)),
      jnp.broadcast_to(frame, (B,)),
      VideoConditions(cache.labels, actions),
      train=False,
    )
    inner = self.decoder.init_cache((B, H, W), Conditions(features=context))
    return cache._replace(keys=keys, values=values, frame=vary_like(context, inner))

  def begin_row(
    self, cache: VideoPixelCNNCache, codes: jax.Array, row: jax.Array
  ) -> VideoPixelCNNCache:
    """Begins row i of frame t, whose number is t * H + i; the cost is O(W)."""
    frame, row = jnp.divmod(jnp.asarray(row, jnp.int32), jnp.int32(codes.shape[2]))
    return cache._replace(frame=self.decoder.begin_row(cache.frame, _frame_of(codes, frame), row))

  def step(
    self, cache: VideoPixelCNNCache, codes: jax.Array, row: jax.Array, index: jax.Array
  ) -> tuple[VideoPixelCNNCache, jax.Array]:
    """Logits [B, K] of one position; what it computes depends on no size but C, K and L."""
    frame, row = jnp.divmod(jnp.asarray(row, jnp.int32), jnp.int32(codes.shape[2]))
    inner, logits = self.decoder.step(cache.frame, _frame_of(codes, frame), row, index)
    return cache._replace(frame=inner), logits

  @property
  def _places(self) -> jax.Array:
    """The positions' embeddings [S, C]."""
    return self.places.reshape(-1, self.channels).astype(self.compute_dtype)

  def _encode(self, codes: jax.Array) -> jax.Array:
    """Codes of frames [M, H, W] -> their features [M, S, 2C]."""
    embedded = self.embed(codes)
    x = embedded + self.places.astype(self.compute_dtype)
    for block in self.encoder:
      x = block(x)
    both = jnp.concatenate([embedded, self.encoder_norm(x)], axis=-1)
    return both.reshape(len(codes), -1, 2 * self.channels)

  def _context(
    self,
    previous: jax.Array,
    seen: list[tuple[jax.Array, jax.Array]],
    number: jax.Array,
    cond: VideoConditions,
    *,
    train: bool,
  ) -> jax.Array:
    """What frames make of those before them.

    Args:
      previous: [M, S, 2C], features of the frame before.
      seen: of every block keys and values [M, window, S, C] of the frames before, newest last.
      number: i32[M], the frames' own.
      cond: labels i32[M], actions [M, A].
      train: whether dropout is on.

    Returns:
      [M, H, W, C].
    """
    first = (number == 0)[:, None]
    x, told = self._places, jnp.zeros((), self.compute_dtype)
    if cond.actions is not None:
      told = told + self.actions(jnp.where(first, 0, cond.actions))
    if cond.labels is not None:
      told = told + self.labels(cond.labels)
    if told.ndim:
      by, shift = jnp.split(self.told(nn.elu(told))[:, None], 2, axis=-1)
      x = x + turned(x, by) + shift
    start = self.start.astype(self.compute_dtype)
    x = x + self.previous(jnp.where(first[..., None], start, previous))
    known = number[:, None] >= jnp.arange(self.window, 0, -1, dtype=jnp.int32)
    for block, (keys, values) in zip(self.context, seen, strict=True):
      x = block(x, keys, values, known, train=train)
    return self.context_norm(x).reshape(len(x), *self.map_shape, -1)

  def _checked(
    self, cond: ArrayLike | VideoConditions | None, shape: tuple[int, ...]
  ) -> VideoConditions:
    """The conditions of codes of `shape`, in the compute dtype."""
    if len(shape) != 4 or tuple(shape[2:]) != self.map_shape:
      raise ValueError(
        f"codes have shape {list(shape)}; with map_shape={self.map_shape} it must be "
        f"[B, T, {self.map_shape[0]}, {self.map_shape[1]}]"
      )
    labels, actions = _as_conditions(cond)
    labels = checked_conditions(labels, shape[:1], self.num_classes, 0).labels
    expected = f"[{shape[0]}, {shape[1]}, {self.action_dim}]"
    if actions is None and self.action_dim:
      raise ValueError(f"cond has no actions: this model takes VideoConditions(actions={expected})")
    if actions is None:
      return VideoConditions(labels)
    if not self.action_dim:
      raise ValueError("cond has actions; this model takes none (action_dim=0)")
    actions = jnp.asarray(actions)
    if not jnp.issubdtype(actions.dtype, jnp.floating):
      raise ValueError(f"actions are {actions.dtype}; they must be floating point")
    if actions.shape != (*shape[:2], self.action_dim):
      raise ValueError(f"actions have shape {list(actions.shape)}; it must be {expected}")
    return VideoConditions(labels, actions.astype(self.compute_dtype))

  @nn.nowrap
  def _check_fields(self) -> None:
    """Raises ValueError that names a field whose value is not possible."""
    for side in self.map_shape:
      checks.whole_number("a side of map_shape", side, least=1)
    for name in ("num_codes", "window", "channels", "num_context_blocks", "num_heads"):
      checks.whole_number(name, getattr(self, name), least=1)
    for name in ("num_classes", "action_dim", "num_encoder_blocks"):
      checks.whole_number(name, getattr(self, name), least=0)
    if self.channels % 2:
      raise ValueError(f"channels is {self.channels}; they come in pairs")
    if self.channels % self.num_heads:
      raise ValueError(
        f"num_heads is {self.num_heads}; it must divide the {self.channels} channels"
      )


def _as_conditions(cond: ArrayLike | VideoConditions | None) -> VideoConditions:
  """Labels, or nothing, as `VideoConditions`."""
  return cond if isinstance(cond, VideoConditions) else VideoConditions(labels=cond)


def _frame_of(codes: jax.Array, frame: jax.Array) -> jax.Array:
  """[B, T, H, W] -> [B, H, W]."""
  return jax.lax.dynamic_index_in_dim(codes, frame, axis=1, keepdims=False)
