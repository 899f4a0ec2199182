"""Pictures: sample, reconstruct, upsample, inpaint."""

import pathlib
import time
from typing import Any

import jax
import numpy as np

from train import cli, compile_cache, config, generate, rejection, run
from train.data import load_image
from train.errors import BadInput
from train.files import whole, write_json
from train.generate import Drawn, Generator
from train.report import console, sheet, to_uint8, write_png
from train.tasks import networks
from train.tasks.tokenizer import Network, Tokenizer, tokenizer
from train.verbs.tables import table
from vqlab import generation


def sample(args: list[str]) -> None:
  parsed = cli.parse(cli.Sample, args, prog="python -m train sample")
  options = options_of(parsed)
  check_keep(parsed.keep)
  if parsed.keep < 1 and parsed.classifier is None:
    raise BadInput("--keep needs a classifier to choose by; name its run's folder by --classifier")
  path = _png(parsed.output or parsed.dir / f"samples-seed{parsed.seed}.png")
  compile_cache.enable()
  done, generator = load(parsed.dir, options)
  classes = generator.num_classes
  if parsed.label is not None and not classes:
    raise BadInput(f"--label is {parsed.label}, but the prior of {parsed.dir} knows no classes")
  labels = _labels(parsed.label, parsed.num, classes, done.splits[0].class_names)
  key, start = jax.random.key(parsed.seed), time.monotonic()
  if parsed.classifier is None:
    drawn = generate.draw_all(generator, key, labels, **options)
  else:
    if not classes:
      raise BadInput(f"--classifier: the prior of {parsed.dir} knows no classes to be recognized")
    names = done.splits[0].class_names
    classifier = rejection.load_classifier(parsed.classifier, generator, names)
    drawn = rejection.draw_best(generator, key, labels, classifier, parsed.keep, **options)
  seconds = time.monotonic() - start
  columns = int(np.ceil(np.sqrt(parsed.num))) if parsed.label or not classes else min(classes, 20)
  _write(path, sheet(drawn.images, columns), drawn, labels)
  of = f", the best of {len(rejection.draws(labels, parsed.keep))}" if parsed.keep < 1 else ""
  console.print(f"{parsed.num} samples{of} in {seconds:.1f} s, compilation included")
  console.print(f"wrote {path} and {path.with_suffix('.npz')}")


def reconstruct(args: list[str]) -> None:
  parsed = cli.parse(cli.Reconstruct, args, prog="python -m train reconstruct")
  _check_names("reconstruct", parsed.images)
  _folder(parsed, "reconstructions")
  compile_cache.enable()
  done = run.load(parsed.dir)
  network, trained, images = _encoded(done, parsed.dir, parsed.images)
  forward = jax.jit(network.forward)
  folder = _folder(parsed, "reconstructions")
  lines = table("", "image", "MSE", "PSNR dB", "codes")
  for path, image in zip(parsed.images, images, strict=True):
    batch = network.images({"image": image[None]})
    out, _ = forward(*trained, batch)
    codes = [np.asarray(q.indices[0]) for q in out.quantized]
    copy = np.clip(np.asarray(out.reconstruction[0], np.float64), -0.5, 0.5)
    mse = float(np.mean(np.square(copy - np.asarray(batch[0]))))
    figures = {
      "mse": mse,
      "psnr": float(-10 * np.log10(max(mse, 1e-12))),
      "distinct_codes": [len(np.unique(c)) for c in codes],
      "code_shapes": [list(c.shape) for c in codes],
    }
    target = folder / f"{path.stem}.png"
    write_png(target, sheet(np.stack([image, to_uint8(copy)]), 2))
    _write_codes(target.with_suffix(".npz"), codes=codes)
    write_json(target.with_suffix(".json"), figures)
    shapes = " + ".join("x".join(map(str, c.shape)) for c in codes)
    lines.add_row(path.name, f"{mse:.5f}", f"{figures['psnr']:.2f}", shapes)
  console.print(lines)
  console.print(
    "each picture: the image, its reconstruction; codes beside it as .npz, figures .json"
  )
  for path in parsed.images:
    console.print(f"picture: {folder / path.stem}.png")


def upsample(args: list[str]) -> None:
  parsed = cli.parse(cli.Upsample, args, prog="python -m train upsample")
  options = options_of(parsed)
  _check_names("upsample", parsed.images)
  _folder(parsed, "upsampled")
  compile_cache.enable()
  done, generator = load(parsed.dir, options)
  if len(generator.levels) == 1:
    raise BadInput(f"{parsed.dir} has one level; upsample keeps the upper ones of several")
  if not 1 <= parsed.levels < len(generator.levels):
    raise BadInput(
      f"--levels is {parsed.levels}; {parsed.dir} has {len(generator.levels)} levels, of which at "
      "least one must be kept and one drawn"
    )
  network, trained, images = _encoded(done, parsed.dir, parsed.images)
  codes = jax.jit(network.encode)(*trained, network.images({"image": images}))
  upper = [np.repeat(c, parsed.num, axis=0) for c in codes[: parsed.levels]]
  key, labels = jax.random.key(parsed.seed), _label(parsed.label, generator, done, len(upper[0]))
  drawn = generate.draw_all(generator, key, labels, upper=upper, **options)
  _write_each(parsed, "upsampled", network, trained, images, codes, drawn)


def inpaint(args: list[str]) -> None:
  parsed = cli.parse(cli.Inpaint, args, prog="python -m train inpaint")
  options = options_of(parsed)
  _check_names("inpaint", parsed.images)
  _folder(parsed, "inpainted")
  compile_cache.enable()
  done, generator = load(parsed.dir, options)
  height, width, _ = generator.image_shape
  top, left, bottom, right = parsed.box
  if not (0 <= top < bottom <= height and 0 <= left < right <= width):
    raise BadInput(
      f"--box is {top} {left} {bottom} {right}; top < bottom and left < right within the image of "
      f"{height}x{width} are needed"
    )
  if parsed.margin < 0:
    raise BadInput(f"--margin is {parsed.margin}; it must be at least 0")
  known = np.ones((1, height, width), bool)
  known[:, top:bottom, left:right] = False
  network, trained, images = _encoded(done, parsed.dir, parsed.images)
  masked = np.where(known[..., None], images, 128).astype(np.uint8)
  # Of the masked images: what is hidden must not reach the codes of what is known.
  codes = jax.jit(network.encode)(*trained, network.images({"image": masked}))
  repeated = [np.repeat(c, parsed.num, axis=0) for c in codes]
  given = generation.given_codes(repeated, known, margin=parsed.margin)
  key, labels = jax.random.key(parsed.seed), _label(parsed.label, generator, done, len(given[0][0]))
  drawn = generate.draw_all(generator, key, labels, given=given, **options)
  _write_each(parsed, "inpainted", network, trained, masked, codes, drawn)


def load(folder: pathlib.Path, options: dict[str, Any]) -> tuple[run.Run, Generator]:
  done = run.load(folder)
  generator = generate.of_run(done.stages, done.config, str(folder))
  least = min(level.model.num_codes for level in generator.levels)
  if (options["top_k"] or 0) > least:
    raise BadInput(f"--top_k is {options['top_k']}; the prior has {least} codes")
  return done, generator


def check_keep(keep: float) -> None:
  if not 0.001 <= keep <= 1:
    raise BadInput(f"--keep is {keep}; it must be in [0.001, 1]")


def options_of(parsed: cli.Drawing) -> dict[str, Any]:
  """The options of `priors.sample`, checked."""
  for name, good, right in (
    ("num", parsed.num >= 1, "at least 1"),
    ("temperature", 0 <= parsed.temperature < float("inf"), "finite and at least 0"),
    ("top_k", parsed.top_k is None or parsed.top_k >= 1, "at least 1"),
    ("seed", 0 <= parsed.seed < 2**31, "at least 0 and below 2^31"),
    ("top_p", parsed.top_p is None or 0 < parsed.top_p <= 1, "in (0, 1]"),
  ):
    if not good:
      raise BadInput(f"--{name} is {getattr(parsed, name)}; it must be {right}")
  return {k: getattr(parsed, k) for k in ("temperature", "top_k", "top_p")}


def _labels(label: str | None, num: int, classes: int, names: tuple[str, ...]) -> np.ndarray:
  if label is None:
    return np.arange(num, dtype=np.int32) % max(classes, 1)
  number = int(label) if label.isdecimal() and len(label) < 10 else -1
  index = names.index(label) if label in names else number
  if not 0 <= index < classes:
    known = ", ".join(names) if len(names) <= 20 else f"0 to {classes - 1}"
    raise BadInput(f"--label is {label[:40]!r}; the data's classes are {known}")
  return np.full(num, index, np.int32)


def _label(label: str | None, generator: Generator, done: run.Run, num: int) -> np.ndarray:
  """The one class of all images; a prior that knows classes must be told."""
  if label is None and generator.num_classes:
    raise BadInput("--label is missing: the prior knows classes; name that of the images")
  if label is None:
    return np.zeros(num, np.int32)
  return _labels(label, num, generator.num_classes, done.splits[0].class_names)


def _check_names(verb: str, images: tuple[pathlib.Path, ...]) -> None:
  if not images:
    raise BadInput(f"{verb}: name at least one image ({verb} DIR IMAGE ...)")
  stems = [path.stem for path in images]
  for path in images:
    if stems.count(path.stem) > 1:
      raise BadInput(f"{path}: another image has the name {path.stem!r}; what is written takes it")


def _encoded(
  done: run.Run, folder: pathlib.Path, paths: tuple[pathlib.Path, ...]
) -> tuple[Network, Tokenizer, np.ndarray]:
  """The tokenizer of a run, and images as its data has them, u8[N, H, W, C]."""
  if "tokenizer" not in config.stages(done.config):
    raise BadInput(
      f"{folder}: the experiment {done.config.name!r} has no tokenizer, which codes come from"
    )
  if "tokenizer" not in done.stages:
    raise BadInput(f"{folder}: the stage 'tokenizer' is not finished; run fit again to go on")
  shape = done.splits[0].image_shape
  network = networks.of(done.config.tokenizer, shape)
  images = np.stack([load_image(path, shape) for path in paths])
  return network, tokenizer(done.stages["tokenizer"].state), images


def _write_each(
  parsed: Any,
  folder: str,
  network: Network,
  trained: Tokenizer,
  images: np.ndarray,
  codes: tuple[jax.Array, ...],
  drawn: Drawn,
) -> None:
  """For each image: itself, its reconstruction, and `parsed.num` that were drawn; their codes."""
  folder = _folder(parsed, folder)
  copies = to_uint8(jax.jit(network.decode)(*trained, codes))
  for i, path in enumerate(parsed.images):
    mine = slice(i * parsed.num, (i + 1) * parsed.num)
    target = folder / f"{path.stem}.png"
    row = np.concatenate([images[i : i + 1], copies[i : i + 1], drawn.images[mine]])
    write_png(target, sheet(row, len(row)))
    _write_codes(target.with_suffix(".npz"), codes=[c[mine] for c in drawn.codes])
    console.print(f"picture: {target}")
  console.print("each picture: what was given, its reconstruction, and what was drawn")


def _folder(parsed: Any, default: str) -> pathlib.Path:
  """Where pictures are written, each under its image's name; never over an image itself."""
  folder = parsed.output or parsed.dir / default
  for path in parsed.images:
    if path.resolve().parent == folder.resolve():
      raise BadInput(f"--output {folder} is the folder of {path}, which would be overwritten")
  return folder


def _png(path: pathlib.Path) -> pathlib.Path:
  if path.suffix != ".png" or path.is_dir():
    raise BadInput(f"--output is {path}; it must be a file that ends in .png")
  return path


def _write(path: pathlib.Path, picture: np.ndarray, drawn: Drawn, labels: np.ndarray) -> None:
  write_png(path, picture)
  _write_codes(path.with_suffix(".npz"), codes=drawn.codes, labels=labels)


def _write_codes(path: pathlib.Path, *, codes: Any, **arrays: np.ndarray) -> None:
  """Codes of one level as `codes`, of several as `codes_0`, top first, and other arrays."""
  if len(codes) == 1:
    named = {"codes": codes[0]}
  else:
    named = {f"codes_{l}": c for l, c in enumerate(codes)}
  with whole(path) as temporary, open(temporary, "wb") as file:
    np.savez_compressed(file, **named, **arrays)
