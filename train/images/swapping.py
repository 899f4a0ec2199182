"""Content and style of an ML-VAE's run: the verb swap."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from train import compile_cache, run
from train.cli import OfRun
from train.errors import BadInput
from train.images.files import load_image
from train.images.generating import Images, png
from train.images.mlvae import MLVAEStage
from train.images.mlvae_pictures import swap_sheet
from train.images.sheets import from_bytes, to_bytes
from train.report import console, write_npz, write_png
from vqlab.autoencoders import mlvae


@dataclasses.dataclass(frozen=True)
class Swap(OfRun):
  """Show pictures' contents in pictures' styles, by an ML-VAE; writes a sheet, and the latents."""

  images: Images
  """PNG or JPEG files whose contents are shown, resized and cropped to the run's images; for a run
  on Omniglot black on white, as its files are."""
  styles: tuple[pathlib.Path, ...] = ()
  """Files whose styles are taken. Default: the same."""
  together: bool = False
  """One content: what all images, of one group, tell together."""
  output: pathlib.Path | None = None
  """The PNG to write; contents and styles go beside it as .npz. Default: swap.png in DIR."""

  def run(self) -> None:
    if not self.images:
      raise BadInput("name at least one image, after DIR")
    path = png(self.output or self.dir / "swap.png")
    for image in (*self.images, *self.styles):
      if image.resolve() == path.resolve():
        raise BadInput(f"--output is {path}, which would overwrite an image that is read")
    compile_cache.enable()
    done = run.load(self.dir, self.source())
    trained, shape = done.the(MLVAEStage), tuple(done.about["image_shape"])
    ink = {"inverted": done.config.data.inverted}
    load = lambda paths: np.stack([load_image(path, shape, **ink) for path in paths])
    contents, styles = load(self.images), load(self.styles or self.images)
    model, params, dtype = trained.model, trained.learned.params, trained.stage.param_dtype

    @jax.jit
    def apply(params: dict, contents: jax.Array, styles: jax.Array) -> tuple[jax.Array, ...]:
      encode = lambda images: mlvae.encode(model, params, from_bytes(images, dtype, low=0))
      content, style = encode(contents).content, encode(styles).style.mu
      if self.together:
        content = mlvae.accumulate(*content, jnp.zeros(len(contents), jnp.int32), 1)
      return content.mu, style, mlvae.swap(model, params, content.mu, style)

    content, style, swapped = jax.device_get(apply(params, contents, styles))
    shown = to_bytes(swapped, low=0)
    write_png(path, swap_sheet(contents[: len(content)], styles, shown))
    write_npz(path.with_suffix(".npz"), content=content, style=style)
    of = "that of all images together" if self.together else "each image's own"
    console.print(f"rows: the left image's content ({of}); columns: the top image's style")
    console.print(f"wrote {path} and {path.with_suffix('.npz')}")
