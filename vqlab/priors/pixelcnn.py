"""Gated PixelCNN: an autoregressive prior over maps of codes.

van den Oord et al., "Conditional Image Generation with PixelCNN Decoders", 2016
(arXiv 1606.05328). Two stacks run side by side over the embedded codes x, with r the radius of
the kernel, k a layer, * a causal convolution, y the label's bias (and that of what else is known
of the position: F features, by a product) and p a position's embedding:

    v_0 = x shifted down one row + p      h_0 = x shifted right one column + p
    a_k = V_k * v_k + y_k                 rows i-r..i, columns j-r..j+r of v
    b_k = U_k * h_k + L_k a_k + y'_k      columns j-r..j of h, and the vertical stack
    v_k+1 = gate(a_k)                     gate(a', a'') = tanh(a') sigmoid(a'')
    h_k+1 = h_k + R_k gate(b_k)

Because the inputs are shifted, no convolution needs a mask, and because the vertical stack sees
all of the rows above, there is no blind spot. The head is ReLU, 1x1, ReLU, 1x1.

The paper's network can't tell where on the map it is but for the zeros around it; p, learned where
`map_shape` is given, tells it, and with y lets a class have its own layout (the paper's
location-dependent conditioning, section 2.3, by a table).

Several codes a position (G of them: the last, fastest axis of the raster order) share one pass of
the two stacks; the head then goes through them one by one, as in NADE (Larochelle and Murray,
2011): code g adds its embedding to the hidden layer that codes g+1.. read.

In sampling, all that the vertical stack contributes to a row is known before the row is begun
(`begin_row`: one pass over W columns), and what is left for a position are the horizontal
stack's r+1 taps and 1x1 products (`step`). Neither depends on how much has been drawn.

Letters: B batch, H W space, G codes a position, K codes, C channels, L layers, N hidden units of
the head, r = kernel_size // 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from vqlab.nn import checks
from vqlab.nn.causal import shift_down, shift_right
from vqlab.nn.dense import Dense, product
from vqlab.priors.conditions import Conditions, as_conditions, checked_features
from vqlab.priors.pixelcnn_layer import GatedLayer, spread


class PixelCNNCache(NamedTuple):
  """What sampling remembers; L-tuples hold one array a layer."""

  above: tuple[jax.Array, ...]  # L x [B, r, W, C]  vertical inputs of the r rows above, newest last
  gates: jax.Array  # [W, L, B, 2C]  what the vertical stack and biases add to the row's gates
  left: tuple[jax.Array, ...]  # L x [B, r, C]  horizontal inputs of the r columns to the left
  hidden: jax.Array  # [B, N]  the head's hidden layer at this position, before its ReLU
  biases: jax.Array | None  # [B, L 4C]  of labels and a map's features: vertical, horizontal 2C
  features: jax.Array | None  # [B, H, W, F]  of the positions


def _codes_at(codes: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
  """One position of [B, H, W] or [B, H, W, G]: [B, 1, 1] or [B, 1, 1, G]."""
  start = (jnp.int32(0), row, column, jnp.int32(0))[: codes.ndim]
  return jax.lax.dynamic_slice(codes, start, (codes.shape[0], 1, 1, *codes.shape[3:]))


class PixelCNN(nn.Module):
  """Gated PixelCNN over int32 codes [B, H, W], or [B, H, W, G] where G > 1.

  `logits(codes, cond)` is teacher-forced; `init_cache`, `begin_row` and `step` give the same
  logits position by position (the cache protocol of `vqlab.priors`).

  Attributes:
    num_codes: K, the size of the codebook.
    codes_per_position: G.
    num_classes: number of labels; 0 is an unconditional model, which takes no `cond`.
    map_shape: (H, W), the only size of maps then taken, each of whose positions has a learned
      embedding; None: any size, and no such embeddings.
    num_features: F of the features in `Conditions`; 0: a model that takes none.
    channels: C, the width of both stacks.
    num_layers: L.
    kernel_size: an odd number of at least 3.
    hidden: N, the width of the head's hidden layer.
    dropout: rate on the gates' outputs when `train=True`; needs the rng collection "dropout".
    dtype: compute dtype of the stacks and the hidden layer; None takes that of the parameters.
    param_dtype: dtype of the parameters. Logits have this dtype, and never less than float32.
  """

  num_codes: int
  codes_per_position: int = 1
  num_classes: int = 0
  map_shape: tuple[int, int] | None = None
  num_features: int = 0
  channels: int = 128
  num_layers: int = 12
  kernel_size: int = 5
  hidden: int = 512
  dropout: float = 0.0
  dtype: DTypeLike | None = None
  param_dtype: DTypeLike = jnp.float32

  def __post_init__(self) -> None:
    # Not later: Linen makes tuples of lists inside of `init`, and outside no list can be hashed.
    shape = self.map_shape
    if shape is not None and not (isinstance(shape, tuple) and len(shape) == 2):
      raise ValueError(f"map_shape is {self.map_shape!r}; it must be a tuple (H, W) or None")
    super().__post_init__()

  def setup(self) -> None:
    K, G, C, L = self.num_codes, self.codes_per_position, self.channels, self.num_layers
    for name in ("num_codes", "codes_per_position", "channels", "num_layers", "hidden"):
      checks.whole_number(name, getattr(self, name), least=1)
    for name in ("num_classes", "num_features"):
      checks.whole_number(name, getattr(self, name), least=0)
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout is {self.dropout}; it must be in [0, 1)")
    if self.kernel_size < 3 or self.kernel_size % 2 == 0:
      raise ValueError(f"kernel_size is {self.kernel_size}; it must be odd and at least 3")
    dtype = self._compute_dtype
    types = {"dtype": dtype, "param_dtype": self.param_dtype}
    # The sum over a position's G embeddings has unit variance, as lecun_normal kernels expect.
    self.embed = nn.Embed(G * K, C, embedding_init=nn.initializers.normal(G**-0.5), **types)
    if self.map_shape is not None:
      init = nn.initializers.normal(1.0)
      self.positions = self.param("positions", init, (*self.map_shape, C), self.param_dtype)
    if self.num_classes:
      # Large enough to matter to a gate from the first step on: labels are learned late otherwise.
      init = nn.initializers.normal(0.5)
      self.labels = nn.Embed(self.num_classes, L * 4 * C, embedding_init=init, **types)
    if self.num_features:
      # No smaller than a label's, and without a bias: the layers have their own.
      init = nn.initializers.variance_scaling(0.25, "fan_in", "normal")
      self.features = Dense(L * 4 * C, use_bias=False, kernel_init=init, **types)
    self.layers = [
      GatedLayer(C, self._radius, self.dropout, dtype, self.param_dtype) for _ in range(L)
    ]
    self.to_hidden = Dense(self.hidden, **types)
    if G > 1:
      init = nn.initializers.normal(G**-0.5)
      self.embed_earlier = nn.Embed((G - 1) * K, self.hidden, embedding_init=init, **types)
    init = nn.initializers.lecun_normal(batch_axis=0)
    self.out_kernel = self.param("out_kernel", init, (G, self.hidden, K), self.param_dtype)
    self.out_bias = self.param("out_bias", nn.initializers.zeros, (G, K), self.param_dtype)

  @property
  def _radius(self) -> int:
    return self.kernel_size // 2

  @property
  def _compute_dtype(self) -> DTypeLike:
    return self.param_dtype if self.dtype is None else self.dtype

  def __call__(
    self, codes: jax.Array, cond: jax.Array | Conditions | None = None, *, train: bool = False
  ) -> jax.Array:
    """The same as `logits`."""
    return self.logits(codes, cond, train=train)

  def logits(
    self, codes: jax.Array, cond: jax.Array | Conditions | None = None, *, train: bool = False
  ) -> jax.Array:
    """Logits of every code given the codes before it in raster order.

    Args:
      codes: int32[B, H, W], or int32[B, H, W, G] where G > 1; 0 <= codes < K.
      cond: `Conditions(labels, features=...)` of what the model takes; labels int32[B] alone, or
        None, where it takes no features.
      train: whether dropout is on.

    Returns:
      [B, H, W, K] or [B, H, W, G, K], in float32 or more.

    Raises:
      ValueError: codes, labels or features have the wrong shape or type, are missing, or are not
        expected.
    """
    self._check_shape(codes.shape)
    if not jnp.issubdtype(codes.dtype, jnp.integer):
      raise ValueError(f"codes are {codes.dtype}; they must be integers")
    codes = codes.astype(jnp.int32)
    biases = self._by_layer(*self._told(cond, codes.shape))
    x = self._embed(codes)
    places = self._places()
    v, h = shift_down(x) + places, shift_right(x) + places
    for layer, bias in zip(self.layers, biases, strict=True):
      v, h = layer(v, h, bias, train=train)
    hidden = self.to_hidden(nn.relu(h))
    if self.codes_per_position == 1:
      return self._logits_of(hidden, 0)
    earlier = jnp.cumsum(self.embed_earlier(self._offset(codes)[..., :-1]), axis=-2)
    earlier = jnp.pad(earlier, ((0, 0),) * 3 + ((1, 0), (0, 0)))
    hidden = nn.relu(hidden[..., None, :] + earlier).astype(self._logits_dtype)
    kernel, bias = (p.astype(self._logits_dtype) for p in (self.out_kernel, self.out_bias))
    return jnp.einsum("bhwgn,gnk->bhwgk", hidden, kernel) + bias

  def init_cache(
    self, shape: tuple[int, ...], cond: jax.Array | Conditions | None = None
  ) -> PixelCNNCache:
    """The cache before the first row, for codes of `shape`; raises as `logits` does."""
    self._check_shape(shape)
    B, _, W = shape[:3]
    L, C, r, dtype = self.num_layers, self.channels, self._radius, self._compute_dtype
    biases, features = self._told(cond, shape)
    return PixelCNNCache(
      above=tuple(jnp.zeros((B, r, W, C), dtype) for _ in range(L)),
      gates=jnp.zeros((W, L, B, 2 * C), dtype),
      left=tuple(jnp.zeros((B, r, C), dtype) for _ in range(L)),
      hidden=jnp.zeros((B, self.hidden), dtype),
      biases=biases,
      features=features,
    )

  def begin_row(self, cache: PixelCNNCache, codes: jax.Array, row: jax.Array) -> PixelCNNCache:
    """Runs the vertical stack for one row, whose rows above are drawn; the cost is O(W)."""
    row = jnp.asarray(row, jnp.int32)
    previous = jax.lax.dynamic_slice_in_dim(codes, jnp.maximum(row - 1, 0), 1, axis=1)
    v = jnp.where(row > 0, self._embed(previous)[:, 0], 0) + self._places(row)
    features = cache.features
    if features is not None:
      features = jax.lax.dynamic_index_in_dim(features, row, axis=1, keepdims=False)
    biases = self._by_layer(cache.biases, features)
    above, gates = [], []
    for layer, rows, bias in zip(self.layers, cache.above, biases, strict=True):
      rows = jnp.concatenate([rows, v[:, None]], axis=1)
      above.append(rows[:, 1:])
      v, from_above = layer.row(rows, bias)
      gates.append(from_above)
    return cache._replace(
      above=tuple(above),
      gates=jnp.stack(gates).transpose(2, 0, 1, 3),
      left=tuple(jnp.zeros_like(x) for x in cache.left),
    )

  def step(
    self, cache: PixelCNNCache, codes: jax.Array, row: jax.Array, index: jax.Array
  ) -> tuple[PixelCNNCache, jax.Array]:
    """Logits [B, K] of code `index` of the row (of its W * G); its cost depends on no map size.

    The steps of a row are taken in order from 0, each after the code before it is in `codes`.
    """
    row, index = jnp.asarray(row, jnp.int32), jnp.asarray(index, jnp.int32)
    column, g = jnp.divmod(index, jnp.int32(self.codes_per_position))
    if self.codes_per_position == 1:
      left, hidden = self._next_position(cache, codes, row, column)
      return cache._replace(left=left, hidden=hidden), self._logits_of(hidden, 0)
    left, hidden = nn.cond(
      g == 0, PixelCNN._next_position, PixelCNN._next_code, self, cache, codes, row, column, g
    )
    return cache._replace(left=left, hidden=hidden), self._logits_of(hidden, g)

  def _next_position(
    self,
    cache: PixelCNNCache,
    codes: jax.Array,
    row: jax.Array,
    column: jax.Array,
    g: jax.Array | None = None,
  ) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """The horizontal stack at one position: `left` and `hidden` of the cache."""
    del g
    previous = _codes_at(codes, row, jnp.maximum(column - 1, 0))
    h = jnp.where(column > 0, self._embed(previous)[:, 0, 0], 0) + self._places(row, column)
    gates = jax.lax.dynamic_index_in_dim(cache.gates, column, axis=0, keepdims=False)
    left = []
    for k, layer in enumerate(self.layers):
      window = jnp.concatenate([cache.left[k], h[:, None]], axis=1)
      left.append(window[:, 1:])
      h = layer.position(window, gates[k])
    return tuple(left), self.to_hidden(nn.relu(h))

  def _next_code(
    self, cache: PixelCNNCache, codes: jax.Array, row: jax.Array, column: jax.Array, g: jax.Array
  ) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Adds the position's latest code to the hidden layer that the next code reads."""
    here = _codes_at(codes, row, column)[:, 0, 0]
    code = jax.lax.dynamic_index_in_dim(here, g - 1, axis=1, keepdims=False)
    return cache.left, cache.hidden + self.embed_earlier(code + (g - 1) * self.num_codes)

  def _logits_of(self, hidden: jax.Array, g: int | jax.Array) -> jax.Array:
    """The head's last layer for the position's code g: [..., N] -> [..., K]."""
    kernel = jax.lax.dynamic_index_in_dim(self.out_kernel, g, keepdims=False)
    bias = jax.lax.dynamic_index_in_dim(self.out_bias, g, keepdims=False)
    dtype = self._logits_dtype
    return product(nn.relu(hidden).astype(dtype), kernel.astype(dtype)) + bias.astype(dtype)

  @property
  def _logits_dtype(self) -> DTypeLike:
    return max(jnp.float32, self._compute_dtype, self.param_dtype, key=lambda t: jnp.finfo(t).bits)

  def _offset(self, codes: jax.Array) -> jax.Array:
    """Codes [..., G] as rows of a table that holds the G embeddings one after the other."""
    offsets = self.num_codes * jnp.arange(self.codes_per_position, dtype=jnp.int32)
    return codes + offsets

  def _embed(self, codes: jax.Array) -> jax.Array:
    """[B, H, W] or [B, H, W, G] -> [B, H, W, C]."""
    if self.codes_per_position == 1:
      return self.embed(codes)
    return self.embed(self._offset(codes)).sum(-2)

  def _places(self, *index: jax.Array) -> jax.Array:
    """The positions' embeddings [H, W, C], or of a row [W, C] or a position [C]; 0 without."""
    if self.map_shape is None:
      return jnp.zeros((), self._compute_dtype)
    n, table = len(index), self.positions
    start = (*index, *[jnp.int32(0)] * (3 - n))
    here = jax.lax.dynamic_slice(table, start, (1,) * n + table.shape[n:])
    return here.reshape(table.shape[n:]).astype(self._compute_dtype)

  def _told(
    self, cond: jax.Array | Conditions | None, shape: tuple[int, ...]
  ) -> tuple[jax.Array | None, jax.Array | None]:
    """What `cond` says of the whole map, as biases [B, L 4C], and of positions, [B, H, W, F]."""
    labels, codes, features = as_conditions(cond)
    if codes:
      raise ValueError(f"cond has codes of {len(codes)} upper levels; PixelCNN takes none")
    biases = self._label_biases(labels, shape[0])
    features = checked_features(features, shape, self.num_features)
    if features is None:
      return biases, None
    if features.ndim > 2:
      return biases, features.astype(self._compute_dtype)
    of_map = self.features(features)
    return of_map if biases is None else biases + of_map, None

  def _by_layer(
    self, biases: jax.Array | None, features: jax.Array | None
  ) -> list[jax.Array | None]:
    """What biases [B, L 4C] and features [B, ..., F] give each layer: [B, (...,) 4C], or None."""
    if features is not None:
      of_positions = self.features(features)
      if biases is not None:
        of_positions = of_positions + spread(biases, of_positions.ndim)
      biases = of_positions
    if biases is None:
      return [None] * self.num_layers
    return jnp.split(biases, self.num_layers, axis=-1)

  def _label_biases(self, labels: jax.Array | None, batch: int) -> jax.Array | None:
    """The labels' biases [B, L 4C], or None for an unconditional model."""
    if not self.num_classes:
      if labels is not None:
        raise ValueError("cond was given to an unconditional model (num_classes=0); pass none")
      return None
    if labels is None:
      raise ValueError(f"cond is missing: this model has {self.num_classes} classes; pass int[B]")
    labels = jnp.asarray(labels)
    if labels.shape != (batch,) or not jnp.issubdtype(labels.dtype, jnp.integer):
      raise ValueError(
        f"cond is {labels.dtype}{list(labels.shape)}; labels int32[{batch}] are expected"
      )
    return self.labels(labels)

  def _check_shape(self, shape: tuple[int, ...]) -> None:
    G = self.codes_per_position
    expected = "[B, H, W]" if G == 1 else f"[B, H, W, {G}]"
    if len(shape) != (3 if G == 1 else 4) or (G > 1 and shape[3] != G):
      raise ValueError(
        f"codes have shape {list(shape)}; with codes_per_position={G} it must be {expected}"
      )
    if self.map_shape is not None and tuple(shape[1:3]) != tuple(self.map_shape):
      raise ValueError(
        f"codes have shape {list(shape)}; with map_shape={self.map_shape} their H, W must be these"
      )
