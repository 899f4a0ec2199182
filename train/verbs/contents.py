"""Content and style of an ML-VAE's run: swap."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from train import cli, compile_cache, run
from train.data import load_image
from train.errors import BadInput
from train.files import whole
from train.report import console, write_png
from train.tasks.mlvae import images_of
from train.tasks.mlvae_pictures import as_bytes, swap_sheet
from vqlab.autoencoders import mlvae


def swap(args: list[str]) -> None:
  """Every image's content in every image's style."""
  parsed = cli.parse(cli.Swap, args, prog="python -m train swap")
  if not parsed.images:
    raise BadInput("swap: name at least one image (swap DIR IMAGE ...)")
  path = parsed.output or parsed.dir / "swap.png"
  if path.suffix != ".png" or path.is_dir():
    raise BadInput(f"--output is {path}; it must be a file that ends in .png")
  for image in (*parsed.images, *parsed.styles):
    if image.resolve() == path.resolve():
      raise BadInput(f"--output is {path}, which would overwrite an image that is read")
  compile_cache.enable()
  done = run.load(parsed.dir)
  if "mlvae" not in done.stages:
    raise BadInput(
      f"{parsed.dir}: the experiment {done.config.name!r} has no ML-VAE, whose contents and styles "
      "swap takes apart"
    )
  stage, finished = done.config.mlvae, done.stages["mlvae"]
  model, params, shape = finished.model, finished.state.params, done.splits[0].image_shape
  ink = {"inverted": done.config.data.source == "omniglot"}  # files are black on white
  load = lambda paths: np.stack([load_image(path, shape, **ink) for path in paths])
  contents, styles = load(parsed.images), load(parsed.styles or parsed.images)

  @jax.jit
  def apply(params: dict, contents: jax.Array, styles: jax.Array) -> tuple[jax.Array, ...]:
    encode = lambda images: mlvae.encode(model, params, images_of(images, stage.param_dtype))
    content, style = encode(contents).content, encode(styles).style.mu
    if parsed.together:
      ids = jnp.zeros(len(contents), jnp.int32)
      content = mlvae.accumulate(*content, ids, 1)
    return content.mu, style, mlvae.swap(model, params, content.mu, style)

  content, style, swapped = jax.device_get(apply(params, contents, styles))
  shown = contents[: len(content)]
  write_png(path, swap_sheet(shown, styles, as_bytes(swapped)))
  _write_latents(path.with_suffix(".npz"), content=content, style=style)
  of = "that of all images together" if parsed.together else "each image's own"
  console.print(f"rows: the left image's content ({of}); columns: the top image's style")
  console.print(f"wrote {path} and {path.with_suffix('.npz')}")


def _write_latents(path: pathlib.Path, **arrays: np.ndarray) -> None:
  with whole(path) as temporary, open(temporary, "wb") as file:
    np.savez_compressed(file, **arrays)
