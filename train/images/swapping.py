"""Content and style of an ML-VAE's run."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from train import compile_cache, run
from train.codes.pixels import from_bytes, to_bytes
from train.images.files import load_image
from train.images.mlvae import MLVAEStage
from train.images.mlvae_pictures import swap_sheet
from train.images.verbs import Swap
from train.report import console, write_npz, write_png
from vqlab.autoencoders import mlvae


def swap(verb: Swap, path: pathlib.Path) -> None:
  """Writes a sheet of pictures' contents in pictures' styles, and the latents."""
  compile_cache.enable()
  done = run.load(verb.dir, verb.source())
  trained, shape = done.the(MLVAEStage), tuple(done.about["image_shape"])
  ink = {"inverted": done.config.data.inverted}
  load = lambda paths: np.stack([load_image(path, shape, **ink) for path in paths])
  contents, styles = load(verb.images), load(verb.styles or verb.images)
  model, params, dtype = trained.model, trained.learned.params, trained.stage.param_dtype

  @jax.jit
  def apply(params: dict, contents: jax.Array, styles: jax.Array) -> tuple[jax.Array, ...]:
    encode = lambda images: mlvae.encode(model, params, from_bytes(images, dtype, low=0))
    content, style = encode(contents).content, encode(styles).style.mu
    if verb.together:
      content = mlvae.accumulate(*content, jnp.zeros(len(contents), jnp.int32), 1)
    return content.mu, style, mlvae.swap(model, params, content.mu, style)

  content, style, swapped = jax.device_get(apply(params, contents, styles))
  shown = to_bytes(swapped, low=0)
  write_png(path, swap_sheet(contents[: len(content)], styles, shown))
  write_npz(path.with_suffix(".npz"), content=content, style=style)
  of = "that of all images together" if verb.together else "each image's own"
  console.print(f"rows: the left image's content ({of}); columns: the top image's style")
  console.print(f"wrote {path} and {path.with_suffix('.npz')}")
