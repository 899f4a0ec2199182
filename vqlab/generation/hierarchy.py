"""Whole images from a hierarchy of priors: top, then every level below given those above it.

p(x) = p(top) p(middle | top) ... p(bottom | above) with the decoder as a function of all codes
(Razavi, van den Oord, Vinyals 2019, arXiv 1906.00446, section 3.3). A single level is the VQ-VAE of
2017, so everything here serves that as well.

The noise of level l comes from fold_in(key, l), or of a single level from the key itself: drawing
the lower levels alone, given the upper codes that a key drew, gives what that key would have drawn.

Levels are counted from the top. Letters: B batch, H W image size, h_l w_l a level's map.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqlab import priors

Decode = Callable[[tuple[jax.Array, ...]], jax.Array]
Given = tuple[jax.Array, jax.Array]  # codes and where they are given, as `priors.sample` takes them


class Level(NamedTuple):
  """A level's prior. All but the first are conditioned on the codes of the levels above."""

  model: nn.Module  # with the cache protocol of `vqlab.priors`
  params: dict[str, Any]
  shape: tuple[int, ...]  # of one example's codes


class Sample(NamedTuple):
  """Images and the codes they were decoded from."""

  images: jax.Array  # [B, H, W, C]
  codes: tuple[jax.Array, ...]  # i32[B, *shape] of every level, top first


def sample_codes(
  key: jax.Array,
  levels: Sequence[Level],
  batch_size: int,
  *,
  labels: jax.Array | None = None,
  upper: Sequence[jax.Array] = (),
  given: Sequence[Given | None] | None = None,
  **options: Any,
) -> tuple[jax.Array, ...]:
  """Draws the codes of all levels, top first; those of the levels in `upper` are copied.

  Args:
    key: a random key.
    levels: the priors, top first.
    batch_size: B.
    labels: int[B], for the priors that know classes.
    upper: codes of the first levels, int[B, *shape] each, top first.
    given: one (codes, mask) or None a level: where the mask is True the code is copied.
    options: `temperature`, `top_k`, `top_p` (one value, or a sequence with one a level), `method`
      and `first_index` of `priors.sample`.

  Returns:
    int32[B, *shape] of every level.

  Raises:
    ValueError: as `priors.sample`; codes or options for another number of levels.
  """
  if len(upper) > len(levels):
    raise ValueError(f"codes of {len(upper)} upper levels; there are {len(levels)} levels")
  if given is not None and len(given) != len(levels):
    raise ValueError(f"given has {len(given)} entries; there are {len(levels)} levels")
  codes: list[jax.Array] = []
  for l, level in enumerate(levels):
    shape = (batch_size, *level.shape)
    if l < len(upper):
      codes.append(_checked(upper[l], shape, l))
      continue
    drawn = priors.sample(
      key if len(levels) == 1 else jax.random.fold_in(key, l),
      level.model,
      level.params,
      shape,
      cond=_condition(level.model, labels, codes),
      given=None if given is None else given[l],
      **{name: _of_level(name, value, l, len(levels)) for name, value in options.items()},
    )
    codes.append(drawn)
  return tuple(codes)


def sample_images(
  key: jax.Array,
  decode: Decode,
  levels: Sequence[Level],
  batch_size: int,
  **options: Any,
) -> Sample:
  """Images from nothing: the codes of all levels as `sample_codes` draws them, then decoded."""
  codes = sample_codes(key, levels, batch_size, **options)
  return Sample(decode(codes), codes)


def upsample(
  key: jax.Array,
  decode: Decode,
  levels: Sequence[Level],
  upper: Sequence[jax.Array],
  **options: Any,
) -> Sample:
  """Images whose upper levels are given: their details are drawn. upper: int[B, *shape], top first.

  Raises:
    ValueError: no codes are given, or those of all levels; otherwise as `sample_codes`.
  """
  if not 1 <= len(upper) < len(levels):
    raise ValueError(f"upper has codes of {len(upper)} levels; of {len(levels)} some must be left")
  return sample_images(key, decode, levels, len(upper[0]), upper=upper, **options)


def inpaint(
  key: jax.Array,
  decode: Decode,
  levels: Sequence[Level],
  codes: Sequence[jax.Array],
  known: jax.Array,
  *,
  margin: int = 0,
  **options: Any,
) -> Sample:
  """Images of which a part is known: its codes are copied, the others drawn in raster order.

  A code is drawn from the codes before it, so at that level nothing is known of what follows an
  unknown part; the levels below it see all of the levels above.

  Args:
    codes: of the whole images, int[B, *shape] of every level; those of unknown cells are ignored.
    known: bool[B, H, W] or [H, W], the pixels that are known.
    margin: see `known_codes`.
  """
  given = given_codes(codes, known, margin=margin)
  return sample_images(key, decode, levels, len(codes[0]), given=given, **options)


def given_codes(
  codes: Sequence[jax.Array], known: jax.Array, *, margin: int = 0
) -> tuple[Given, ...]:
  """What `sample_codes` takes as `given` where a part of the images is known; see `inpaint`."""
  known = jnp.broadcast_to(known, (len(codes[0]), *jnp.shape(known)[-2:]))
  return tuple(
    (jnp.asarray(c), _like(known_codes(known, jnp.shape(c)[1:3], margin=margin), c)) for c in codes
  )


def known_codes(known: jax.Array, shape: tuple[int, int], *, margin: int = 0) -> jax.Array:
  """The codes all of whose pixels are known: bool[B, H, W] -> bool[B, h, w].

  Args:
    known: pixels.
    shape: (h, w), which divide H and W.
    margin: cells, beyond its own, that must be known on every side of a code as well: encoders look
      beyond the cell of a code. What lies outside of the image counts as known.

  Raises:
    ValueError: the map does not divide the image, or `known` is not boolean.
  """
  if known.ndim != 3 or known.dtype != jnp.bool_:
    raise ValueError(f"known is {known.dtype}{list(known.shape)}; it must be bool[B, H, W]")
  (batch, height, width), (h, w) = known.shape, shape
  if height % h or width % w:
    raise ValueError(f"a map of {h}x{w} does not divide pixels of {height}x{width}")
  cells = known.reshape(batch, h, height // h, w, width // w).all(axis=(2, 4))
  unknown = jax.lax.reduce_window(
    ~cells, False, jax.lax.bitwise_or, (1, 2 * margin + 1, 2 * margin + 1), (1, 1, 1), "SAME"
  )
  return ~unknown


def _condition(
  model: nn.Module, labels: jax.Array | None, upper: Sequence[jax.Array]
) -> jax.Array | priors.Conditions | None:
  """What a level's prior is told, of what there is."""
  labels = labels if getattr(model, "num_classes", 0) else None
  return priors.Conditions(labels, tuple(upper)) if upper else labels


def _checked(codes: jax.Array, shape: tuple[int, ...], level: int) -> jax.Array:
  codes = jnp.asarray(codes)
  if codes.shape != shape or not jnp.issubdtype(codes.dtype, jnp.integer):
    raise ValueError(
      f"codes of level {level} are {codes.dtype}{list(codes.shape)}; expected int{list(shape)}"
    )
  return codes.astype(jnp.int32)


def _of_level(name: str, value: Any, level: int, num_levels: int) -> Any:
  """An option's value for a level: the same for all, or one of a sequence."""
  if not isinstance(value, tuple | list):
    return value
  if len(value) != num_levels:
    raise ValueError(f"{name} has {len(value)} values; there are {num_levels} levels")
  return value[level]


def _like(mask: jax.Array, codes: jax.Array) -> jax.Array:
  """A mask of positions for all codes at each of them."""
  mask = mask.reshape(mask.shape + (1,) * (np.ndim(codes) - mask.ndim))
  return jnp.broadcast_to(mask, np.shape(codes))
