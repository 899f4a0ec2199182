"""What each verb of the command line does, once its arguments are read."""

import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np
from rich.table import Table

from train import cli, compile_cache, config, parallel, run
from train.data import load_image
from train.errors import BadInput
from train.experiments import make_task
from train.files import whole, write_json
from train.report import console, sheet, to_uint8, write_png
from train.task import Finished
from train.tasks import prior as priors
from train.tasks.vqvae import images_of
from train.workdir import Workdir
from vqlab.autoencoders import vqvae


def fit(args: list[str]) -> None:
  """Trains, or with --dry_run says what it would do."""
  parsed = cli.parse_fit(args)
  experiment = parsed.experiment
  parallel.join(experiment.parallel)
  compile_cache.enable()
  if parsed.dry_run:
    Workdir(parsed.workdir).check(experiment)
    dry_run(experiment)
    return
  done = run.fit(experiment, parsed.workdir)
  if jax.process_index() == 0:
    summary(parsed.workdir, done)


def evaluate(args: list[str]) -> None:
  parsed = cli.parse(cli.Evaluate, args, prog="python -m train evaluate")
  compile_cache.enable()
  table = _table(f"{parsed.dir} on the held-out split")
  for name, figures in run.evaluate(parsed.dir).items():
    _add_figures(table, name, figures)
  console.print(table)


def sample(args: list[str]) -> None:
  parsed = cli.parse(cli.Sample, args, prog="python -m train sample")
  for name, good, right in (
    ("num", parsed.num >= 1, "at least 1"),
    ("temperature", 0 <= parsed.temperature < float("inf"), "finite and at least 0"),
    ("top_k", parsed.top_k is None or parsed.top_k >= 1, "at least 1"),
    ("seed", 0 <= parsed.seed < 2**31, "at least 0 and below 2^31"),
    ("top_p", parsed.top_p is None or 0 < parsed.top_p <= 1, "in (0, 1]"),
  ):
    if not good:
      raise BadInput(f"--{name} is {getattr(parsed, name)}; it must be {right}")
  compile_cache.enable()
  done = run.load(parsed.dir)
  stage = _stage(done, "prior", parsed.dir)
  classes = done.splits[0].num_classes
  labels = _labels(parsed.label, parsed.num, classes, done.splits[0].class_names)
  if parsed.label is not None and not stage.model.num_classes:
    raise BadInput(f"--label is {parsed.label}, but the prior of {parsed.dir} knows no classes")
  num_codes = stage.model.num_codes
  if (parsed.top_k or 0) > num_codes:
    raise BadInput(f"--top_k is {parsed.top_k}; the prior has {num_codes} codes")
  options = {k: getattr(parsed, k) for k in ("temperature", "top_k", "top_p")}
  shape = priors.code_shape(done.config.tokenizer, done.splits[0].image_shape)
  path = parsed.output or parsed.dir / f"samples-seed{parsed.seed}.png"
  if path.suffix != ".png":
    raise BadInput(f"--output is {path}; it must end in .png")
  start = time.monotonic()
  codes, images = zip(
    *priors.draw(
      stage.model, stage.state.params, done.stages["tokenizer"].model, stage.task.context,
      jax.random.key(parsed.seed), shape, labels, **options,
    ),
    strict=True,
  )  # fmt: skip
  seconds = time.monotonic() - start
  columns = int(np.ceil(np.sqrt(parsed.num))) if parsed.label or not classes else min(classes, 20)
  write_png(path, sheet(np.concatenate(images), columns))
  with whole(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
    np.savez_compressed(file, codes=np.concatenate(codes), labels=labels)
  console.print(f"{parsed.num} samples in {seconds:.1f} s, compilation included")
  console.print(f"wrote {path} and {path.with_suffix('.npz')}")


def _labels(label: str | None, num: int, classes: int, names: tuple[str, ...]) -> np.ndarray:
  if label is None:
    return np.arange(num, dtype=np.int32) % max(classes, 1)
  index = names.index(label) if label in names else int(label) if label.isdecimal() else -1
  if not 0 <= index < classes:
    known = f"0 to {classes - 1}" if classes else "none"
    raise BadInput(f"--label is {label!r}; the data's classes are {known}")
  return np.full(num, index, np.int32)


def reconstruct(args: list[str]) -> None:
  parsed = cli.parse(cli.Reconstruct, args, prog="python -m train reconstruct")
  if not parsed.images:
    raise BadInput("reconstruct: name at least one image (reconstruct DIR IMAGE ...)")
  stems = [path.stem for path in parsed.images]
  for path in parsed.images:
    if stems.count(path.stem) > 1:
      raise BadInput(f"{path}: another image has the name {path.stem!r}; what is written takes it")
  compile_cache.enable()
  done = run.load(parsed.dir)
  stage = _stage(done, "tokenizer", parsed.dir)
  images = [load_image(path, done.splits[0].image_shape) for path in parsed.images]
  trained = priors.tokenizer(stage.state)
  forward = jax.jit(vqvae.forward, static_argnums=0)
  folder = parsed.output or parsed.dir / "reconstructions"
  table = Table("image", "MSE", "PSNR dB", "codes")
  for path, image in zip(parsed.images, images, strict=True):
    batch = images_of({"image": image[None]}, done.config.tokenizer.param_dtype)
    out = forward(stage.model, trained.params, trained.codebook, batch)
    codes = np.asarray(out.quantized.indices[0])
    copy = np.clip(np.asarray(out.reconstruction[0], np.float64), -0.5, 0.5)
    mse = float(np.mean(np.square(copy - np.asarray(batch[0]))))
    figures = {
      "mse": mse,
      "psnr": float(-10 * np.log10(max(mse, 1e-12))),
      "distinct_codes": len(np.unique(codes)),
      "code_shape": list(codes.shape),
    }
    target = folder / f"{path.stem}.png"
    write_png(target, sheet(np.stack([image, to_uint8(copy)]), 2))
    with whole(target.with_suffix(".npy")) as temporary, open(temporary, "wb") as file:
      np.save(file, codes)
    write_json(target.with_suffix(".json"), figures)
    shape = "x".join(map(str, codes.shape))
    table.add_row(path.name, f"{mse:.5f}", f"{figures['psnr']:.2f}", shape)
  console.print(table)
  console.print(
    "each picture: the image, its reconstruction; codes beside it as .npy, figures .json"
  )
  for path in parsed.images:
    console.print(f"picture: {folder / path.stem}.png")


def _stage(done: run.Run, name: str, folder: pathlib.Path) -> Finished:
  if name not in done.stages:
    raise BadInput(f"{folder}: the stage {name!r} is not finished; run fit again to go on")
  return done.stages[name]


def summary(folder: pathlib.Path, done: run.Run) -> None:
  """The last table of `fit`, and where the pictures are."""
  workdir = Workdir(folder)
  table, pictures = _table(f"{done.config.name} is done"), []
  for name in done.stages:
    record = workdir.done(name)
    _add_figures(table, name, record["figures"])
    table.add_row("", "training", f"{record['steps']} steps, {record['seconds']:.0f} s")
    pictures += [folder / picture for picture in record["pictures"]]
  console.print(table)
  for path in pictures:
    console.print(f"picture: {path}")


def _table(title: str) -> Table:
  return Table("stage", "figure", "value", title=title, title_justify="left")


_FIGURES = {  # what a figure is called, and how it is written
  "mse": ("reconstruction MSE", "{:.6f}"),
  "psnr": ("reconstruction PSNR", "{:.2f} dB"),
  "perplexity": ("code perplexity", "{:.1f}"),
  "usage": ("codes used", "{:.1%}"),
  "nats_per_code": ("negative log-likelihood", "{:.4f} nats a code"),
  "uniform_nats": ("that of a uniform code, log K", "{:.4f} nats a code"),
  "bits_per_dim": ("rate of the codes", "{:.4f} bits a dimension"),
  "judge_accuracy": ("judge, on real held-out images", "{:.1%} right"),
  "sample_accuracy": ("judge, on samples", "{:.1%} of the class asked for"),
}


def _add_figures(table: Table, stage: str, figures: dict[str, float]) -> None:
  for i, (key, value) in enumerate(figures.items()):
    title, text = _FIGURES.get(key, (key, "{:.6g}"))
    table.add_row("" if i else stage, title, text.format(value))


def dry_run(experiment: config.Experiment) -> None:
  """Prints what `fit` would do; compiles the steps, runs and writes nothing."""
  plan = run.plan(experiment)
  console.print(f"experiment  {experiment.name}")
  for path, (value, _) in config.flatten(experiment).items():
    console.print(f"  {path} = {value!r}")
  for title, split in zip(("training", "held-out"), plan.splits, strict=True):
    size = "x".join(map(str, split.image_shape))
    console.print(f"data        {title}: {len(split)} images {size}, {split.num_classes} classes")
  kinds = {d.device_kind for d in plan.mesh.devices.flat}
  console.print(
    f"mesh        {plan.mesh.size} devices ({', '.join(kinds)}), {jax.process_count()} processes"
  )
  finished: dict[str, Finished] = {}
  for name, stage in config.stages(experiment).items():
    task = make_task(experiment, name, plan.splits[0], finished)
    program = parallel.compile_task(task, plan.mesh, "jit")
    state = program.abstract_state
    context = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), task.context)
    rows, shape = stage.batch_size, plan.splits[0].image_shape
    batch = {
      "image": jax.ShapeDtypeStruct((rows, *shape), np.uint8),
      "label": jax.ShapeDtypeStruct((rows,), np.int32),
      "index": jax.ShapeDtypeStruct((rows,), np.int32),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    memory = program.step.lower(state, context, batch, key).compile().memory_analysis()
    console.print(
      f"{name:12}{run.parameter_count(state.params):,} parameters; {stage.steps:,} steps of "
      f"{rows}, {rows // plan.mesh.size} a device; by jit a step needs "
      f"{(memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**20:,.0f} MiB a device "
      f"({memory.temp_size_in_bytes / 2**20:,.0f} temporary)"
    )
    finished[name] = Finished(task.model, state, {}, task)


VERBS: dict[str, Callable[[list[str]], None]] = {
  "fit": fit,
  "evaluate": evaluate,
  "sample": sample,
  "reconstruct": reconstruct,
}
