"""What a finished run foretells: the frames after those of a file, or of held-out videos."""

import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from train import compile_cache, run
from train.errors import BadInput
from train.report import console, write_npz, write_report
from train.task import Run, reported
from train.video import files, foretelling, pictures
from train.video.episodes import Episodes
from train.video.prior import FramePriorStage
from train.video.videos import leading
from train.video.vqvae import VideoVQVAEStage

if TYPE_CHECKING:
  from train.video.verbs import PredictFrames


def predict(args: "PredictFrames", path: pathlib.Path) -> None:
  """Writes true clips, as far as they are known, over what is drawn."""
  compile_cache.enable()
  loaded = run.load(args.dir, args.source())
  prior, tokenizer = loaded.the(FramePriorStage), loaded.the(VideoVQVAEStage)
  stage = prior.stage
  given = args.given or stage.given
  later = args.frames or max(tokenizer.stage.frames - given, 1)
  oracle = stage.oracle(loaded.about, tokenizer, prior.model, prior.learned)
  if (args.top_k or 0) > prior.model.num_codes:
    raise BadInput(f"--top_k is {args.top_k}; the prior has {prior.model.num_codes} codes")
  if args.video is None:
    batch = _held_out(loaded, given + later, args.num)
  else:
    batch = _of_file(args, loaded, prior, given, later)
  options = {name: getattr(args, name) for name in ("temperature", "top_k", "top_p")}
  drawn = foretelling.foretell(oracle, batch, given, seed=args.seed, **options)
  write_report(path.parent, pictures.side_by_side(path.stem, batch["clip"], drawn.clips))
  write_npz(path.with_suffix(".npz"), codes=drawn.codes)
  console.print(f"{given} frames given, {later} drawn; above what is known, below what is drawn")
  for suffix in (".png", ".gif", ".npz"):
    kind = "picture" if suffix == ".png" else "file"
    console.print(f"{kind}: {path.with_suffix(suffix)}", markup=False)


def _held_out(loaded: Run, frames: int, num: int) -> dict[str, np.ndarray]:
  """Videos of the run's data, from end to end of the split."""
  split = reported({name: Episodes(videos, frames) for name, videos in loaded.splits.items()})
  indices = np.linspace(0, len(split) - 1, min(num, len(split)), dtype=int)
  return foretelling.whole(split.read(indices, None), split.name)


def _of_file(
  args: "PredictFrames", loaded: Run, prior: Any, given: int, later: int
) -> dict[str, np.ndarray]:
  """One clip: what the file has of it, then grey."""
  facts = files.look(args.video)
  if facts.frames < args.start + given:
    raise BadInput(
      f"{args.video}: {facts.frames} frames; {given} are given from --start {args.start} on"
    )
  height, width, channels = loaded.about["frame_shape"]
  positions = np.arange(args.start, min(args.start + given + later, facts.frames))
  frames = files.read(args.video, positions, short_side=min(height, width), threads=0)
  top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
  if min(top, left) < 0:
    found = "x".join(map(str, frames.shape[1:3]))
    raise BadInput(
      f"{args.video}: {found} when its shorter side is {min(height, width)}; the run's frames are "
      f"{height}x{width}, which must fit in it"
    )
  frames = frames[:, top : top + height, left : left + width]
  if channels == 1:
    frames = np.uint8(np.rint(frames.mean(-1, keepdims=True)))
  clip = np.full((given + later, height, width, channels), 128, np.uint8)
  clip[: len(frames)] = frames
  return {
    "clip": clip[None],
    "action": _actions(args, prior.model.action_dim, given + later)[None],
    "label": np.array([_label(args, loaded, prior.model.num_classes)], np.int32),
  }


def _actions(args: "PredictFrames", dim: int, frames: int) -> np.ndarray:
  """What leads to the frames from `start` on."""
  if not dim:
    if args.actions is not None:
      raise BadInput("--actions were given; the prior of this run is told of none")
    return np.zeros((frames, 0), np.float32)
  positions = args.start + np.arange(frames)
  need = f"float [{positions[-1]}, {dim}] or longer"
  if args.actions is None:
    raise BadInput(
      f"--actions is missing: the prior is told of {dim} numbers a frame; name an .npy of {need}"
    )
  try:
    done = np.load(args.actions, allow_pickle=False)
  except (ValueError, OSError, EOFError) as error:
    raise BadInput(f"{args.actions}: not an .npy ({error})") from None
  if not isinstance(done, np.ndarray):
    raise BadInput(f"{args.actions}: not an .npy of one array")
  fits = done.ndim == 2 and len(done) >= positions[-1] and done.shape[1] == dim
  if not fits or done.dtype.kind not in "fiu":
    raise BadInput(
      f"{args.actions}: {done.dtype} {list(done.shape)}; {need} is needed, a row for what is done "
      "after each frame of the video, those to come included"
    )
  if not np.isfinite(done).all():
    raise BadInput(f"{args.actions}: not all of its numbers are finite")
  return leading(done, positions)


def _label(args: "PredictFrames", loaded: Run, num_classes: int) -> int:
  names = list(loaded.about["class_names"])
  if not num_classes:
    if args.label is not None:
      raise BadInput("--label was given; the prior of this run is told of no class")
    return 0
  label = args.label or ""
  number = names.index(label) if label in names else int(label) if label.isdecimal() else -1
  if not 0 <= number < num_classes:
    raise BadInput(f"--label is {args.label!r}; the prior's classes are {', '.join(names)[:200]}")
  return number
