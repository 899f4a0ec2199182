"""Verbs that draw from a run's priors, or go through its codes: images in and out."""

import dataclasses
import pathlib
import time
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
import tyro
from tyro.conf import Positional, arg

from train import compile_cache, run
from train.cli import OfRun
from train.codes import generation
from train.codes.generation import Generator
from train.codes.tokenizer import Coder, Tokenizer, TokenizerStage
from train.errors import BadInput
from train.fields import field
from train.files import write_json
from train.images import rejection
from train.images.files import load_image
from train.images.sheets import sheet
from train.report import console, write_npz, write_png
from train.tables import table
from train.task import Run
from vqlab.autoencoders import vqvae
from vqlab.generation import given_codes

Images = Annotated[Positional[tuple[pathlib.Path, ...]], arg(metavar="IMAGE ...")]


@dataclasses.dataclass(frozen=True)
class Drawing(OfRun):
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

  def load(self) -> tuple[Run, Generator]:
    """The run, and the generator of its priors."""
    compile_cache.enable()
    done = run.load(self.dir, self.source())
    generator = generation.of_run(done)
    least = min(level.model.num_codes for level in generator.levels)
    if (self.top_k or 0) > least:
      raise BadInput(f"--top_k is {self.top_k}; the prior has {least} codes")
    return done, generator


@dataclasses.dataclass(frozen=True)
class Sample(Drawing):
  """Draw images from a run's priors; writes a sheet of them, and their codes."""

  num: int = field(64, least=1)
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
    path = png(self.output or self.dir / f"samples-seed{self.seed}.png")
    done, generator = self.load()
    classes, names = generator.num_classes, tuple(done.about["class_names"])
    labels = _labels(self.label, self.num, classes, names)
    key, start = jax.random.key(self.seed), time.monotonic()
    if self.classifier is None:
      drawn = generation.draw(generator, key, labels, **self.options())
    else:
      if not classes:
        raise BadInput(f"--classifier: the prior of {self.dir} knows no classes to be recognized")
      classifier = rejection.load_classifier(self.classifier, done.about)
      drawn = rejection.draw_best(generator, key, labels, classifier, self.keep, **self.options())
    seconds = time.monotonic() - start
    columns = int(np.ceil(np.sqrt(self.num))) if self.label or not classes else min(classes, 20)
    write_png(path, sheet(drawn.outputs, columns))
    write_npz(path.with_suffix(".npz"), **_named(drawn.codes), labels=labels)
    of = f", the best of {len(rejection.draws(labels, self.keep))}" if self.keep < 1 else ""
    console.print(f"{self.num} samples{of} in {seconds:.1f} s, compilation included")
    console.print(f"wrote {path} and {path.with_suffix('.npz')}")


@dataclasses.dataclass(frozen=True)
class Reconstruct(OfRun):
  """Encode and decode pictures; writes each beside its reconstruction, its codes, and figures."""

  images: Images
  """PNG or JPEG files, resized and cropped to the size of the run's images."""
  output: pathlib.Path | None = None
  """Folder to write to. Default: reconstructions/ in DIR."""

  def run(self) -> None:
    folder = _folder(self.output or self.dir / "reconstructions", self.images)
    compile_cache.enable()
    coder, trained, images = _read(run.load(self.dir, self.source()), self.images)
    forward = jax.jit(lambda trained, x: vqvae.forward(coder.model, *trained, x))
    lines = table("", "image", "MSE", "PSNR dB", "codes")
    for path, image in zip(self.images, images, strict=True):
      x = coder.inputs({"image": image[None]})
      out = forward(trained, x)
      codes = [np.asarray(q.indices[0]) for q in out.quantized]
      copy = np.clip(np.asarray(out.reconstruction[0], np.float64), -0.5, 0.5)
      mse = float(np.mean(np.square(copy - np.asarray(x[0]))))
      figures = {
        "mse": mse,
        "psnr": float(-10 * np.log10(max(mse, 1e-12))),
        "distinct_codes": [len(np.unique(c)) for c in codes],
        "code_shapes": [list(c.shape) for c in codes],
      }
      target = folder / f"{path.stem}.png"
      write_png(target, sheet(np.stack([image, coder.outputs(copy)]), 2))
      write_npz(target.with_suffix(".npz"), **_named(codes))
      write_json(target.with_suffix(".json"), figures)
      shapes = " + ".join("x".join(map(str, c.shape)) for c in codes)
      lines.add_row(path.name, f"{mse:.5f}", f"{figures['psnr']:.2f}", shapes)
    console.print(lines)
    console.print(
      "each picture: the image, its reconstruction; codes beside it as .npz, figures .json"
    )
    for path in self.images:
      console.print(f"picture: {folder / path.stem}.png")


@dataclasses.dataclass(frozen=True)
class _Redraw(Drawing):
  """Keeps some codes of pictures and draws the others anew."""

  images: Images = tyro.MISSING
  """PNG or JPEG files, resized and cropped to the size of the run's images."""
  num: int = field(4, least=1)
  """Versions of each picture."""
  label: str | None = None
  """The class of the pictures, where the prior knows classes."""
  output: pathlib.Path | None = None
  """Folder to write to. Default: one in DIR."""

  folder: ClassVar[str]

  def run(self) -> None:
    """Draws and, for each image, writes itself, its reconstruction, and what was drawn."""
    target = _folder(self.output or self.dir / self.folder, self.images)
    done, generator = self.load()
    self.check(generator)
    coder, trained, images = _read(done, self.images)
    given = self.shown(images)
    codes = jax.jit(coder.encode)(trained, coder.inputs({"image": given}))
    repeated = [np.repeat(c, self.num, axis=0) for c in codes]
    if self.label is None and generator.num_classes:
      raise BadInput("--label is missing: the prior knows classes; name that of the images")
    names = tuple(done.about["class_names"])
    labels = _labels(self.label, len(repeated[0]), generator.num_classes, names)
    kept, key = self.kept(repeated, images), jax.random.key(self.seed)
    drawn = generation.draw(generator, key, labels, **kept, **self.options())
    copies = coder.outputs(jax.jit(coder.decode)(trained, codes))
    for i, path in enumerate(self.images):
      mine = slice(i * self.num, (i + 1) * self.num)
      row = np.concatenate([given[i : i + 1], copies[i : i + 1], drawn.outputs[mine]])
      write_png(target / f"{path.stem}.png", sheet(row, len(row)))
      write_npz(target / f"{path.stem}.npz", **_named([c[mine] for c in drawn.codes]))
      console.print(f"picture: {target / path.stem}.png")
    console.print("each picture: what was given, its reconstruction, and what was drawn")

  def check(self, generator: Generator) -> None:
    """Raises BadInput for what does not fit the run."""
    raise NotImplementedError

  def shown(self, images: np.ndarray) -> np.ndarray:
    """What is encoded of images u8[N, H, W, C]."""
    return images

  def kept(self, codes: list[np.ndarray], images: np.ndarray) -> dict[str, Any]:
    """Which codes stay, as `generation.draw` takes them."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Upsample(_Redraw):
  """Keep the upper levels' codes of pictures and draw the lower ones' anew."""

  levels: int = 1
  """How many levels are kept, from the top."""

  folder = "upsampled"

  def check(self, generator: Generator) -> None:
    count = len(generator.levels)
    if count == 1:
      raise BadInput(f"{self.dir} has one level; upsample keeps the upper ones of several")
    if not 1 <= self.levels < count:
      raise BadInput(
        f"--levels is {self.levels}; {self.dir} has {count} levels, of which at least one must be "
        "kept and one drawn"
      )

  def kept(self, codes: list[np.ndarray], images: np.ndarray) -> dict[str, Any]:
    return {"upper": codes[: self.levels]}


@dataclasses.dataclass(frozen=True)
class Inpaint(_Redraw):
  """Draw a part of pictures anew, given the rest."""

  box: tuple[int, int, int, int] = tyro.MISSING
  """The part to draw, in pixels: top, left, bottom, right (the last two are not in it)."""
  margin: int = field(1, least=0)
  """Codes next to the part that are drawn as well, since their encoder saw it."""

  folder = "inpainted"

  def check(self, generator: Generator) -> None:
    (top, left, bottom, right), (height, width, _) = self.box, generator.coder.blank.shape[1:]
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
      raise BadInput(
        f"--box is {top} {left} {bottom} {right}; top < bottom and left < right within the image "
        f"of {height}x{width} are needed"
      )

  def shown(self, images: np.ndarray) -> np.ndarray:
    # What is hidden must not reach the codes of what is known.
    return np.where(self._known(images)[..., None], images, 128).astype(np.uint8)

  def kept(self, codes: list[np.ndarray], images: np.ndarray) -> dict[str, Any]:
    return {"given": given_codes(codes, self._known(images), margin=self.margin)}

  def _known(self, images: np.ndarray) -> np.ndarray:
    top, left, bottom, right = self.box
    known = np.ones((1, *images.shape[1:3]), bool)
    known[:, top:bottom, left:right] = False
    return known


def _labels(label: str | None, num: int, classes: int, names: tuple[str, ...]) -> np.ndarray:
  if label is None:
    return np.arange(num, dtype=np.int32) % max(classes, 1)
  if not classes:
    raise BadInput(f"--label is {label[:40]!r}, but the prior knows no classes")
  number = int(label) if label.isdecimal() and len(label) < 10 else -1
  index = names.index(label) if label in names else number
  if not 0 <= index < classes:
    known = ", ".join(names) if len(names) <= 20 else f"0 to {classes - 1}"
    raise BadInput(f"--label is {label[:40]!r}; the data's classes are {known}")
  return np.full(num, index, np.int32)


def _read(done: Run, paths: tuple[pathlib.Path, ...]) -> tuple[Coder, Tokenizer, np.ndarray]:
  """The tokenizer of a run, and images as its data has them, u8[N, H, W, C]."""
  tokenizer = done.the(TokenizerStage)
  coder = tokenizer.stage.coder(done.about)
  images = np.stack([load_image(path, tuple(done.about["image_shape"])) for path in paths])
  return coder, tokenizer.learned, images


def _folder(folder: pathlib.Path, images: tuple[pathlib.Path, ...]) -> pathlib.Path:
  """Where pictures are written, each under its image's name; never over an image itself."""
  if not images:
    raise BadInput("name at least one image, after DIR")
  stems = [path.stem for path in images]
  for path in images:
    if stems.count(path.stem) > 1:
      raise BadInput(f"{path}: another image has the name {path.stem!r}; what is written takes it")
    if path.resolve().parent == folder.resolve():
      raise BadInput(f"--output {folder} is the folder of {path}, which would be overwritten")
  return folder


def png(path: pathlib.Path) -> pathlib.Path:
  """A path that a picture can be written to."""
  if path.suffix != ".png" or path.is_dir():
    raise BadInput(f"--output is {path}; it must be a file that ends in .png")
  return path


def _named(codes: Any) -> dict[str, np.ndarray]:
  """Codes of one level as `codes`, of several as `codes_0`, top first."""
  return {"codes": codes[0]} if len(codes) == 1 else {f"codes_{l}": c for l, c in enumerate(codes)}
