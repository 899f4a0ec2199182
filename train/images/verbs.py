"""The arguments of the verbs of images; each imports what does its work once they make sense."""

import dataclasses
import pathlib
from typing import Annotated, Any, ClassVar

import tyro
from tyro.conf import Positional, arg

from train.cli import OfRun, output_folder
from train.errors import BadInput
from train.fields import field

Images = Annotated[Positional[tuple[pathlib.Path, ...]], arg(metavar="IMAGE ...")]


@dataclasses.dataclass(frozen=True)
class OfImages(OfRun):
  """What a verb does with a run of images."""

  subject: ClassVar[str] = "images"
  known: ClassVar[str] = "image_shape"


@dataclasses.dataclass(frozen=True)
class Drawing(OfImages):
  """How codes are drawn."""

  temperature: float = field(1.0, least=0)
  """Divides the logits; 0: always the most probable code."""
  top_k: int | None = field(None, least=1)
  """Draw from the k most probable codes only."""
  top_p: float | None = field(None, least=1e-6, most=1)
  """Draw from the most probable codes that hold this mass only."""
  seed: int = field(0, least=0, most=2**31 - 1)
  """The same seed, the same samples."""

  def options(self) -> dict[str, Any]:
    """Those of `priors.sample`."""
    return {k: getattr(self, k) for k in ("temperature", "top_k", "top_p")}


@dataclasses.dataclass(frozen=True)
class Sample(Drawing):
  """Draw images from a run's priors; writes a sheet of them, and their codes."""

  num: int = field(64, least=1, most=2**31 - 1)
  """How many images are drawn."""
  label: str | None = None
  """The class, by name or number; all classes in turn where it is not given."""
  classifier: pathlib.Path | None = None
  """Folder of a classifier's run: of what is drawn for a class, what it recognizes best is kept."""
  keep: float = field(1.0, least=0.001, most=1)
  """The fraction of what is drawn that is kept, up to 1."""
  output: pathlib.Path | None = None
  """The PNG to write; its codes go beside it as .npz. Default: samples-seedSEED.png in DIR."""

  def run(self) -> None:
    if self.keep < 1 and self.classifier is None:
      raise BadInput(
        "--keep needs a classifier to choose by; name its run's folder by --classifier"
      )
    path = _png(self.output or self.dir / f"samples-seed{self.seed}.png")
    from train.images import generating

    generating.sample(self, path)


@dataclasses.dataclass(frozen=True)
class Reconstruct(OfImages):
  """Encode and decode pictures; writes each beside its reconstruction, its codes, and figures."""

  images: Images
  """PNG or JPEG files, resized and cropped to the size of the run's images."""
  output: pathlib.Path | None = None
  """Folder to write to. Default: reconstructions/ in DIR."""

  def run(self) -> None:
    folder = output_folder(self.output or self.dir / "reconstructions", self.images, what="image")
    from train.images import generating

    generating.reconstruct(self, folder)


@dataclasses.dataclass(frozen=True)
class Redraw(Drawing):
  """Keeps some codes of pictures and draws the others anew."""

  images: Images = tyro.MISSING
  """PNG or JPEG files, resized and cropped to the size of the run's images."""
  num: int = field(4, least=1, most=2**31 - 1)
  """Versions of each picture."""
  label: str | None = None
  """The class of the pictures, where the prior knows classes."""
  output: pathlib.Path | None = None
  """Folder to write to. Default: one in DIR."""


@dataclasses.dataclass(frozen=True)
class Upsample(Redraw):
  """Keep the upper levels' codes of pictures and draw the lower ones' anew."""

  levels: int = 1
  """How many levels are kept, from the top."""

  def run(self) -> None:
    folder = output_folder(self.output or self.dir / "upsampled", self.images, what="image")
    from train.images import generating

    generating.upsample(self, folder)


@dataclasses.dataclass(frozen=True)
class Inpaint(Redraw):
  """Draw a part of pictures anew, given the rest."""

  box: tuple[int, int, int, int] = tyro.MISSING
  """The part to draw, in pixels: top, left, bottom, right (the last two are not in it)."""
  margin: int = field(1, least=0)
  """Codes next to the part that are drawn as well, since their encoder saw it."""

  def run(self) -> None:
    folder = output_folder(self.output or self.dir / "inpainted", self.images, what="image")
    from train.images import generating

    generating.inpaint(self, folder)


@dataclasses.dataclass(frozen=True)
class Score(Drawing):
  """Judge samples against held-out real images, as many for every fraction that is kept.

  FID, precision and recall are taken in the features of the classifier, or of Inception-v3.

  The class asked for is judged by a regression on real images, IS by the classifier's classes.
  """

  classifier: pathlib.Path = tyro.MISSING
  """Folder of a classifier's run."""
  keep: tuple[float, ...] = field((1.0, 0.5, 0.25), least=0.001, most=1)
  """Fractions: of what is drawn for a class, what the classifier recognizes best."""
  num: int = field(1000, least=10, most=2**31 - 1)
  """Samples that are kept; at most as many held-out images are compared with."""
  inception: pathlib.Path | None = None
  """Weights of the Inception-v3 for FID: a state dict as .pth, .npz or .safetensors."""
  accuracy_steps: int = field(0, least=0)
  """Steps of a classifier trained on the samples and tested on real images (CAS); 0: none."""
  judge_size: int = field(8, least=1)
  """Side to which images are shrunk for the regression that judges classes."""

  def run(self) -> None:
    if not self.keep:
      raise BadInput("--keep is empty; give at least one fraction, such as 1")
    from train.images import scoring

    scoring.score(self)


@dataclasses.dataclass(frozen=True)
class Swap(OfImages):
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
    path = _png(self.output or self.dir / "swap.png")
    for image in (*self.images, *self.styles):
      if image.resolve() == path.resolve():
        raise BadInput(f"--output is {path}, which would overwrite an image that is read")
    from train.images import swapping

    swapping.swap(self, path)


def _png(path: pathlib.Path) -> pathlib.Path:
  """A path that a picture can be written to."""
  if path.suffix != ".png" or path.is_dir():
    raise BadInput(f"--output is {path}; it must be a file that ends in .png")
  return path
