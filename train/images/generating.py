"""Draws from a run's priors, or goes through its codes: images in and out."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from train import compile_cache, run
from train.codes import generation
from train.codes.generation import Generator
from train.codes.pixels import from_bytes, to_bytes
from train.codes.tokenizer import Coder, Tokenizer, TokenizerStage
from train.errors import BadInput
from train.files import write_json
from train.images import rejection
from train.images.files import load_image
from train.images.sheets import sheet
from train.images.verbs import Drawing, Inpaint, Reconstruct, Redraw, Sample, Upsample
from train.report import console, write_npz, write_png
from train.tables import table
from train.task import Run
from vqlab.autoencoders import vqvae
from vqlab.generation import given_codes


def load(verb: Drawing) -> tuple[Run, Generator]:
  """The run, and the generator of its priors."""
  compile_cache.enable()
  done = run.load(verb.dir, verb.source())
  generator = generation.of_run(done)
  least = min(level.model.num_codes for level in generator.levels)
  if (verb.top_k or 0) > least:
    raise BadInput(f"--top_k is {verb.top_k}; the prior has {least} codes")
  return done, generator


def sample(verb: Sample, path: pathlib.Path) -> None:
  """Draws images and writes a sheet of them, with their codes."""
  done, generator = load(verb)
  classes, names = generator.num_classes, tuple(done.about["class_names"])
  labels = _labels(verb.label, verb.num, classes, names)
  key, start = jax.random.key(verb.seed), time.monotonic()
  if verb.classifier is None:
    drawn = generation.draw(generator, key, labels, **verb.options())
  else:
    if not classes:
      raise BadInput(f"--classifier: the prior of {verb.dir} knows no classes to be recognized")
    classifier = rejection.load_classifier(verb.classifier, done.about)
    drawn = rejection.draw_best(generator, key, labels, classifier, verb.keep, **verb.options())
  seconds = time.monotonic() - start
  columns = int(np.ceil(np.sqrt(verb.num))) if verb.label or not classes else min(classes, 20)
  write_png(path, sheet(drawn.outputs, columns))
  write_npz(path.with_suffix(".npz"), **_named(drawn.codes), labels=labels)
  of = f", the best of {len(rejection.draws(labels, verb.keep))}" if verb.keep < 1 else ""
  console.print(f"{verb.num} samples{of} in {seconds:.1f} s, compilation included")
  console.print(f"wrote {path} and {path.with_suffix('.npz')}")


def reconstruct(verb: Reconstruct, folder: pathlib.Path) -> None:
  """Writes pictures beside their reconstructions, with their codes and figures."""
  compile_cache.enable()
  coder, trained, images = _read(run.load(verb.dir, verb.source()), verb.images)
  forward = jax.jit(lambda trained, x: vqvae.forward(coder.model, *trained, x))
  lines = table("", "image", "MSE", "PSNR dB", "codes")
  for path, image in zip(verb.images, images, strict=True):
    x = coder.inputs({"image": image[None]})
    out = forward(trained, x)
    codes = [np.asarray(q.indices[0]) for q in out.quantized]
    copy = np.clip(np.asarray(coder.mean(out.reconstruction)[0], np.float64), -0.5, 0.5)
    mse = float(np.mean(np.square(copy - np.asarray(from_bytes(image, np.float32)))))
    figures = {
      "mse": mse,
      "psnr": float(-10 * np.log10(max(mse, 1e-12))),
      "distinct_codes": [len(np.unique(c)) for c in codes],
      "code_shapes": [list(c.shape) for c in codes],
    }
    target = folder / f"{path.stem}.png"
    write_png(target, sheet(np.stack([image, to_bytes(copy)]), 2))
    write_npz(target.with_suffix(".npz"), **_named(codes))
    write_json(target.with_suffix(".json"), figures)
    shapes = " + ".join("x".join(map(str, c.shape)) for c in codes)
    lines.add_row(path.name, f"{mse:.5f}", f"{figures['psnr']:.2f}", shapes)
  console.print(lines)
  console.print(
    "each picture: the image, its reconstruction; codes beside it as .npz, figures .json"
  )
  for path in verb.images:
    console.print(f"picture: {folder / path.stem}.png")


def upsample(verb: Upsample, folder: pathlib.Path) -> None:
  """Keeps the upper levels' codes of pictures and draws the lower ones' anew."""
  done, generator = load(verb)
  count = len(generator.levels)
  if count == 1:
    raise BadInput(f"{verb.dir} has one level; upsample keeps the upper ones of several")
  if not 1 <= verb.levels < count:
    raise BadInput(
      f"--levels is {verb.levels}; {verb.dir} has {count} levels, of which at least one must be "
      "kept and one drawn"
    )
  kept = lambda codes: {"upper": codes[: verb.levels]}
  _redraw(verb, folder, done, generator, lambda images: images, kept)


def inpaint(verb: Inpaint, folder: pathlib.Path) -> None:
  """Draws a part of pictures anew, given the rest."""
  done, generator = load(verb)
  (top, left, bottom, right), (height, width, _) = verb.box, generator.coder.blank.shape[1:]
  if not (0 <= top < bottom <= height and 0 <= left < right <= width):
    raise BadInput(
      f"--box is {top} {left} {bottom} {right}; top < bottom and left < right within the image "
      f"of {height}x{width} are needed"
    )
  known = np.ones((1, height, width), bool)
  known[:, top:bottom, left:right] = False
  # What is hidden must not reach the codes of what is known.
  shown = lambda images: np.where(known[..., None], images, 128).astype(np.uint8)
  kept = lambda codes: {"given": given_codes(codes, known, margin=verb.margin)}
  _redraw(verb, folder, done, generator, shown, kept)


def _redraw(
  verb: Redraw,
  folder: pathlib.Path,
  done: Run,
  generator: Generator,
  shown: Callable[[np.ndarray], np.ndarray],
  kept: Callable[[list[np.ndarray]], dict[str, Any]],
) -> None:
  """Draws and, for each image, writes itself, its reconstruction, and what was drawn.

  Args:
    shown: what is encoded of images u8[N, H, W, C].
    kept: which codes stay, as `generation.draw` takes them.
  """
  coder, trained, images = _read(done, verb.images)
  given = shown(images)
  codes = jax.jit(coder.encode)(trained, coder.inputs({"image": given}))
  repeated = [np.repeat(c, verb.num, axis=0) for c in codes]
  if verb.label is None and generator.num_classes:
    raise BadInput("--label is missing: the prior knows classes; name that of the images")
  names = tuple(done.about["class_names"])
  labels = _labels(verb.label, len(repeated[0]), generator.num_classes, names)
  key = jax.random.key(verb.seed)
  drawn = generation.draw(generator, key, labels, **kept(repeated), **verb.options())
  copies = coder.outputs(jax.jit(coder.decode)(trained, codes))
  for i, path in enumerate(verb.images):
    mine = slice(i * verb.num, (i + 1) * verb.num)
    row = np.concatenate([given[i : i + 1], copies[i : i + 1], drawn.outputs[mine]])
    write_png(folder / f"{path.stem}.png", sheet(row, len(row)))
    write_npz(folder / f"{path.stem}.npz", **_named([c[mine] for c in drawn.codes]))
    console.print(f"picture: {folder / path.stem}.png")
  console.print("each picture: what was given, its reconstruction, and what was drawn")


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


def _named(codes: Any) -> dict[str, np.ndarray]:
  """Codes of one level as `codes`, of several as `codes_0`, top first."""
  return {"codes": codes[0]} if len(codes) == 1 else {f"codes_{l}": c for l, c in enumerate(codes)}
