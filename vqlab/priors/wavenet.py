"""WaveNet: an autoregressive prior over sequences of codes, samples of sound among them.

van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016 (arXiv 1609.03499). With x_k
the input of layer k, of dilation d_k, over the embedded codes shifted right by one:

    a_k(t) = V_k x_k(t - d_k) + W_k x_k(t) + l_k(t) + y_k         2C gates, for kernels of 2
    g_k = tanh(a') sigmoid(a'')                                   C of them
    x_k+1 = x_k + R_k g_k,        skip = sum over k of S_k g_k

and the head is ReLU, product, ReLU, product over the skips. Dilations are 1, 2, 4, ... and begin
anew every `cycle` layers. l is what local conditions add, which stand for `hop` positions each
(codes below samples, in a VQ-VAE), and y what labels add (a speaker, a class), by a table.

What a layer reads of earlier positions is known before the position is begun. So sampling keeps one
queue a layer, of its last inputs (Le Paine et al. 2016, arXiv 1611.09482), multiplies what all of
them give at once, as it does the skips, and is left with two small products a layer and position,
whatever has been drawn.

Letters: B batch, T positions, K codes, C channels, L layers, F features of a local condition, S of
them (frames), k = kernel_size.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import ArrayLike, DTypeLike

from vqlab.nn import checks
from vqlab.nn.dense import Dense, product
from vqlab.nn.dtypes import at_least_float32


class SequenceConditions(NamedTuple):
  """The `cond` of a WaveNet."""

  labels: tuple[jax.Array, ...] = ()  # i32[B] each: one for each of the model's `label_sizes`
  local: jax.Array | None = None  # [B, S, F]; S * hop may be more than T


class WaveNetCache(NamedTuple):
  """What sampling remembers."""

  queues: jax.Array  # [N, B, C]  layers' last inputs, (k - 1) d_k of layer k, one after another
  local: jax.Array | None  # [S, B, F]  local conditions
  given: jax.Array  # [L, B, 2C]  what biases and labels add to the gates
  gates: jax.Array  # [L, B, 2C]  the same and what the local condition adds, of this frame


class WaveNet(nn.Module):
  """A WaveNet over int32 codes [B, T].

  `logits(codes, cond)` is teacher-forced; `init_cache`, `begin_row` and `step` give the same
  logits position by position (the cache protocol of `vqlab.priors`).

  Attributes:
    num_codes: K.
    label_sizes: how many values each label has that it is conditioned on: (10, 4), say, for digits
      by speakers.
    local_features: F of the local conditions; 0: there are none.
    hop: positions that a local condition stands for.
    channels: C.
    skip_channels: width of the sum of skips; hidden: of the layer before the logits.
    num_layers: L.
    cycle: layers after which dilations begin anew at 1.
    kernel_size: k.
    ordered: whether codes are levels, such as samples of sound, near ones alike: their embeddings
      begin as waves over the levels then, by which a network learns sooner.
    dropout: rate on the gates' outputs when `train=True`; needs the rng collection "dropout".
    dtype: compute dtype; None takes that of the parameters.
    param_dtype: dtype of the parameters. Logits have this dtype, and never less than float32.
  """

  num_codes: int = 256
  label_sizes: tuple[int, ...] = ()
  local_features: int = 0
  hop: int = 1
  channels: int = 64
  skip_channels: int = 256
  hidden: int = 256
  num_layers: int = 30
  cycle: int = 10
  kernel_size: int = 2
  ordered: bool = False
  dropout: float = 0.0
  dtype: DTypeLike | None = None
  param_dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    for name in ("num_codes", "hop", "channels", "skip_channels", "hidden", "num_layers", "cycle"):
      checks.whole_number(f"WaveNet: {name}", getattr(self, name), least=1)
    checks.whole_number("WaveNet: kernel_size", self.kernel_size, least=2)
    K, C, L, S = self.num_codes, self.channels, self.num_layers, self.skip_channels
    dtype = self._compute_dtype
    types = {"dtype": dtype, "param_dtype": self.param_dtype}
    normal = lambda fan_in: nn.initializers.normal(fan_in**-0.5)
    kernel = lambda name, fan_in, *shape: self.param(name, normal(fan_in), shape, self.param_dtype)
    bias = lambda name, *shape: self.param(name, nn.initializers.zeros, shape, self.param_dtype)
    init = _waves if self.ordered else nn.initializers.normal(1.0)
    self.embed = nn.Embed(K, C, embedding_init=init, **types)
    fan_in = self.kernel_size * C
    self.past = kernel("past", fan_in, L, self.kernel_size - 1, C, 2 * C)
    self.now = kernel("now", fan_in, L, C, 2 * C)
    self.gate_bias = bias("gate_bias", L, 2 * C)
    self.residual = kernel("residual", C, L - 1, C, C)
    self.residual_bias = bias("residual_bias", L - 1, C)
    self.skip = kernel("skip", L * C, L, C, S)
    self.skip_bias = bias("skip_bias", S)
    if self.local_features:
      self.local = kernel("local", self.local_features, self.local_features, L * 2 * C)
    init = nn.initializers.normal(0.5)
    self.labels = [
      nn.Embed(size, L * 2 * C, embedding_init=init, **types) for size in self.label_sizes
    ]
    self.drop = nn.Dropout(self.dropout)
    self.to_hidden = Dense(self.hidden, **types)
    wide = at_least_float32(dtype)
    self.to_logits = Dense(K, dtype=wide, param_dtype=self.param_dtype)

  @property
  def dilations(self) -> tuple[int, ...]:
    """Of the L layers."""
    return tuple(2 ** (k % self.cycle) for k in range(self.num_layers))

  @property
  def receptive_field(self) -> int:
    """How many of the codes before a position its logits depend on."""
    return 1 + (self.kernel_size - 1) * sum(self.dilations)

  @property
  def _compute_dtype(self) -> DTypeLike:
    return self.param_dtype if self.dtype is None else self.dtype

  def __call__(
    self,
    codes: jax.Array,
    cond: ArrayLike | SequenceConditions | None = None,
    *,
    train: bool = False,
  ) -> jax.Array:
    """The same as `logits`."""
    return self.logits(codes, cond, train=train)

  def logits(
    self,
    codes: jax.Array,
    cond: ArrayLike | SequenceConditions | None = None,
    *,
    train: bool = False,
  ) -> jax.Array:
    """Logits of every code given the codes before it.

    Args:
      codes: int[B, T], in [0, K).
      cond: `SequenceConditions`; labels int[B] alone will do where the model has one of
        `label_sizes` and nothing else, and None where it is conditioned on nothing. Local
        conditions beyond the last code are left alone.
      train: whether dropout is on.

    Returns:
      [B, T, K], in float32 or more.

    Raises:
      ValueError: codes or conditions have the wrong shape or type, are missing, or not expected.
    """
    self._check_shape(codes.shape)
    if not jnp.issubdtype(codes.dtype, jnp.integer):
      raise ValueError(f"codes are {codes.dtype}; they must be integers")
    (B, T), C, k = codes.shape, self.channels, self.kernel_size
    given, local = self._given(cond, codes.shape)
    given = given[:, None]
    if local is not None:
      given = given + self._of_local(local)  # [B, S, L, 2C]
    hop = self.hop if self.local_features else T
    length = given.shape[1] * hop  # T, and what is left of the last frame
    x = self.embed(codes[:, :-1].astype(jnp.int32))
    x = jnp.pad(x, ((0, 0), (1, length - T), (0, 0)))
    past, now, residual, skip = self._kernels()
    kernels = jnp.concatenate([past, now[:, None]], axis=1).reshape(-1, k * C, 2 * C)
    total = jnp.zeros((), self._compute_dtype)
    for n, d in enumerate(self.dilations):
      taps = [_delayed(x, j * d) for j in range(k - 1, -1, -1)]
      a = product(jnp.concatenate(taps, axis=-1), kernels[n]).reshape(B, -1, hop, 2 * C)
      a = (a + given[:, :, n, None]).reshape(B, length, 2 * C)
      g = self.drop(_gate(a), deterministic=not train)
      total = total + product(g, skip[n])
      if n < self.num_layers - 1:
        x = x + product(g, residual[n]) + self.residual_bias[n].astype(x.dtype)
    return self._head(total[:, :T])

  def init_cache(
    self, shape: tuple[int, ...], cond: ArrayLike | SequenceConditions | None = None
  ) -> WaveNetCache:
    """The cache before the first code, for codes of `shape`; raises as `logits` does."""
    self._check_shape(shape)
    size = (self.kernel_size - 1) * sum(self.dilations)
    queues = jnp.zeros((size, shape[0], self.channels), self._compute_dtype)
    given, local = self._given(cond, shape)
    given = given.swapaxes(0, 1)
    return WaveNetCache(queues, local if local is None else local.swapaxes(0, 1), given, given)

  def begin_row(self, cache: WaveNetCache, codes: jax.Array, row: jax.Array) -> WaveNetCache:
    """A sequence is one row, and nothing is above it."""
    return cache

  def step(
    self, cache: WaveNetCache, codes: jax.Array, row: jax.Array, index: jax.Array
  ) -> tuple[WaveNetCache, jax.Array]:
    """Logits [B, K] of code `index`; the steps are taken in order from 0."""
    t, taps, B = jnp.asarray(index, jnp.int32), self.kernel_size - 1, codes.shape[0]
    previous = jax.lax.dynamic_index_in_dim(codes, jnp.maximum(t - 1, 0), 1, keepdims=False)
    x = jnp.where(t > 0, self.embed(previous), 0)
    past, now, residual, skip = self._kernels()
    # Queue n is taps * d long and begins at `first`; position t's input lies at t modulo that.
    d = np.asarray(self.dilations, np.int32)
    first = np.cumsum(taps * d, dtype=np.int32) - taps * d
    back = np.arange(taps, 0, -1, dtype=np.int32) * d[:, None]
    window = cache.queues[first[:, None] + (t - back) % (taps * d)[:, None]]  # [L, taps, B, C]
    window = window.transpose(0, 2, 1, 3).reshape(self.num_layers, B, -1)
    a = window @ past.reshape(self.num_layers, -1, 2 * self.channels)
    cache = cache._replace(gates=self._gates_at(cache, t))
    a = a + cache.gates
    inputs, gated = [], []
    for n in range(self.num_layers):
      inputs.append(x)
      gated.append(_gate(a[n] + x @ now[n]))
      if n < self.num_layers - 1:
        x = x + gated[n] @ residual[n] + self.residual_bias[n].astype(x.dtype)
    queues = cache.queues.at[first + t % (taps * d)].set(jnp.stack(inputs))
    total = jnp.concatenate(gated, axis=-1) @ skip.reshape(-1, self.skip_channels)
    return cache._replace(queues=queues), self._head(total)

  def cond_ranges(
    self, cond: ArrayLike | SequenceConditions | None
  ) -> list[tuple[str, ArrayLike, int]]:
    """Labels and how many values each may have."""
    labels = _as_conditions(cond).labels
    return [
      (f"labels {n}", *of) for n, of in enumerate(zip(labels, self.label_sizes, strict=False))
    ]

  def _kernels(self) -> tuple[jax.Array, ...]:
    """Those of the layers, in the compute dtype."""
    kernels = self.past, self.now, self.residual, self.skip
    return tuple(promote_dtype(*kernels, dtype=self._compute_dtype))

  def _head(self, total: jax.Array) -> jax.Array:
    """The sum of skips [..., S] -> logits [..., K]."""
    hidden = self.to_hidden(nn.relu(total + self.skip_bias.astype(total.dtype)))
    return self.to_logits(nn.relu(hidden).astype(self.to_logits.dtype))

  def _gates_at(self, cache: WaveNetCache, t: jax.Array) -> jax.Array:
    """[L, B, 2C]: what all conditions add at position t; computed once a frame."""
    if cache.local is None:
      return cache.gates
    frame, within = jnp.divmod(t, jnp.int32(self.hop))

    def begin() -> jax.Array:
      local = jax.lax.dynamic_index_in_dim(cache.local, frame, keepdims=False)
      return cache.given + self._of_local(local).swapaxes(0, 1)

    return jax.lax.cond(within == 0, begin, lambda: cache.gates)

  def _of_local(self, local: jax.Array) -> jax.Array:
    """Local conditions [..., F] -> [..., L, 2C]."""
    kernel = self.local.astype(local.dtype)
    return product(local, kernel).reshape(*local.shape[:-1], self.num_layers, -1)

  def _given(
    self, cond: ArrayLike | SequenceConditions | None, shape: tuple[int, ...]
  ) -> tuple[jax.Array, jax.Array | None]:
    """What biases and labels add to the gates, [B, L, 2C], and the local conditions [B, S, F]."""
    (B, T), L, C, dtype = shape, self.num_layers, self.channels, self._compute_dtype
    cond = _as_conditions(cond)
    if len(cond.labels) != len(self.label_sizes):
      raise ValueError(
        f"cond has {len(cond.labels)} labels; this WaveNet takes {len(self.label_sizes)}, of "
        f"{list(self.label_sizes)} values"
      )
    total = jnp.broadcast_to(self.gate_bias.astype(dtype), (B, L, 2 * C))
    for n, (table, label) in enumerate(zip(self.labels, cond.labels, strict=True)):
      label = jnp.asarray(label)
      if label.shape != (B,) or not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"labels {n} are {label.dtype}{list(label.shape)}; they must be int[{B}]")
      total = total + table(label.astype(jnp.int32)).reshape(B, L, 2 * C)
    if self.local_features:
      frames, F = -(-T // self.hop), self.local_features
      found = None if cond.local is None else jnp.shape(cond.local)
      if not found or len(found) != 3 or found[0] != B or found[1] < frames or found[2] != F:
        raise ValueError(
          f"local conditions are {found and list(found)}; {T} codes, {self.hop} a frame, take "
          f"[{B}, {frames} or more, {F}]"
        )
      return total, cond.local[:, :frames].astype(dtype)
    if cond.local is not None:
      raise ValueError("cond has local conditions; this WaveNet takes none (local_features=0)")
    return total, None

  def _check_shape(self, shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
      raise ValueError(f"codes have shape {list(shape)}; it must be [B, T]")


def _waves(key: jax.Array, shape: tuple[int, int], dtype: DTypeLike) -> jax.Array:
  """[K, C]: a wave a channel over the K levels, of about half a turn to fifty."""
  keys, y = jax.random.split(key, 3), jnp.linspace(-1, 1, shape[0], dtype=dtype)[:, None]
  turns = jnp.exp(jax.random.uniform(keys[0], shape[1:], dtype, -1, 4))
  turns = turns * jax.random.normal(keys[1], shape[1:], dtype)
  phases = jax.random.uniform(keys[2], shape[1:], dtype)
  return math.sqrt(2) * jnp.cos(2 * math.pi * (turns * y + phases))


def _gate(x: jax.Array) -> jax.Array:
  """[..., 2C] -> [..., C]."""
  signal, gate = jnp.split(x, 2, axis=-1)
  return jnp.tanh(signal) * nn.sigmoid(gate)


def _delayed(x: jax.Array, by: int) -> jax.Array:
  """[B, T, C] with what was at t - by at t, zeros first."""
  by = min(by, x.shape[1])
  return jnp.pad(x[:, : x.shape[1] - by], ((0, 0), (by, 0), (0, 0)))


def _as_conditions(cond: ArrayLike | SequenceConditions | None) -> SequenceConditions:
  if cond is None or isinstance(cond, SequenceConditions):
    return cond or SequenceConditions()
  return SequenceConditions((cond,))
