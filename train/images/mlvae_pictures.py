"""What an ML-VAE makes of held-out groups: sheets of swaps, interpolations and new images."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.codes.pixels import to_bytes
from train.data import Groups
from train.images.mlvae_figures import Encode
from train.images.sheets import sheet
from vqlab.autoencoders import mlvae

_CLASSES, _COLUMNS = 10, 10
_shown = functools.partial(to_bytes, low=0)


def draw(model: Any, params: dict, encode: Encode, split: Groups) -> dict[str, np.ndarray]:
  """Sheets of at most ten held-out classes, of each a group and one more image.

  reconstructions  rows: images, by their own content (strategy 1), by their group's (strategy 2)
  swaps            the content of the left column's group in the style of the top row's images,
                   which are none of any group
  interpolations   above: content from one group's to another's in the first one's style; below:
                   style from one image's to another's with the first one's content
  generations      the content of the left column's group in new styles; the last two rows: new both
  """
  labels = split.labels
  classes = np.unique(labels)
  classes = classes[np.linspace(0, len(classes) - 1, min(_CLASSES, len(classes))).astype(int)]
  members = [np.flatnonzero(labels == label)[: split.group_size + 1] for label in classes]
  groups = [m[:-1] if len(m) > 1 else m for m in members]
  ids = np.repeat(np.arange(len(groups), dtype=np.int32), list(map(len, groups)))
  firsts = np.unique(ids, return_index=True)[1]  # each group's first image

  images = split.read(np.concatenate(groups), None)["image"]
  styled = split.read(np.array([m[-1] for m in members]), None)["image"]
  posterior = encode(params, jnp.asarray(images))
  content = mlvae.accumulate(*posterior.content, ids, len(groups)).mu
  shown = images[firsts]
  style = encode(params, jnp.asarray(styled)).style.mu

  own = mlvae.decode(model, params, posterior.content.mu[firsts], posterior.style.mu[firsts])
  together = mlvae.decode(model, params, content, posterior.style.mu[firsts])
  swapped = mlvae.swap(model, params, content, style)

  count = len(groups)
  return {
    "reconstructions.png": sheet(np.concatenate([shown, _shown(own), _shown(together)]), count),
    "swaps.png": swap_sheet(shown, styled, _shown(swapped)),
    "interpolations.png": _interpolations(model, params, content, posterior.style.mu[firsts]),
    "generations.png": _generations(model, params, content, shown),
  }


def swap_sheet(contents: np.ndarray, styles: np.ndarray, swapped: np.ndarray) -> np.ndarray:
  """u8[A, ...], u8[B, ...] and u8[A, B, ...]: contents at the left, styles on top."""
  blank = np.full((1, *contents.shape[1:]), 255, np.uint8)
  rows = [np.concatenate([a[None], b]) for a, b in zip(contents, swapped, strict=True)]
  return sheet(np.concatenate([blank, styles, *rows]), len(styles) + 1)


def _interpolations(model: Any, params: dict, content: jax.Array, style: jax.Array) -> np.ndarray:
  """Half of the rows along content, half along style; from each class to the next."""
  half = max(1, min(5, len(content) // 2))
  start = (content[:half], style[:half])
  order = np.roll(np.arange(len(content)), -1)[:half]
  end = (content[order], style[order])
  parts = [
    _shown(mlvae.interpolate(model, params, start, end, _COLUMNS, along=along))
    for along in ("content", "style")
  ]
  return sheet(np.concatenate(parts).reshape(-1, *parts[0].shape[2:]), _COLUMNS)


def _generations(model: Any, params: dict, content: jax.Array, shown: np.ndarray) -> np.ndarray:
  """Each class in new styles, the first image its content is of at the left; then all new."""
  keys = jax.random.split(jax.random.key(0))
  in_new_styles = _shown(mlvae.generate(model, params, keys[0], _COLUMNS, content=content))
  rows = [np.concatenate([a[None], b]) for a, b in zip(shown, in_new_styles, strict=True)]
  new = _shown(mlvae.generate(model, params, keys[1], 2 * (_COLUMNS + 1)))
  return sheet(np.concatenate([*rows, new]), _COLUMNS + 1)
