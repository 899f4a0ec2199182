"""Videos written anew, small and quick to seek in, once before they are trained on."""

import fractions
import pathlib
import time
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from rich.progress import track

from train.data.folders import walk
from train.errors import BadInput
from train.files import whole
from train.report import console
from train.video import decode
from train.video.videos import Unreadable

if TYPE_CHECKING:
  from train.video.verbs import Reencode

_TRIED = 20  # videos by which reading is compared
_CLIP = 16  # frames


def reencode(args: "Reencode") -> None:
  """Writes every video of a folder that is not there yet, and says what that saves."""
  names = sorted(path.relative_to(args.source).as_posix() for path in walk(args.source))
  if not names:
    raise BadInput(f"{args.source}: no files in it")

  def one(name: str) -> str | None:
    """Why a video can't be read; None where it is done."""
    if (args.output / name).exists():
      return None
    try:
      with whole(args.output / name) as temporary:
        _write(args.source / name, temporary, args)
    except Unreadable as error:
      return str(error)
    return None

  with ThreadPool(args.num_threads) as threads:
    work = threads.imap(one, names)
    quiet = not console.is_terminal
    shown = track(work, "writing", len(names), console=console, transient=True, disable=quiet)
    failed = [error for error in shown if error]
  for error in failed:
    console.print(f"left out: {error}", markup=False)
  done = [name for name in names if (args.output / name).exists()]
  if not done:
    raise BadInput(f"{args.source}: none of its {len(names)} files is a video that can be read")
  _print_savings(args.source, args.output, done, len(failed))


def _write(source: pathlib.Path, path: pathlib.Path, args: "Reencode") -> None:
  """All frames upright, when they appeared; no sound."""
  facts = decode.probe(source).scaled(args.short_side)
  height, width = (max(2, x // 2 * 2) for x in (facts.height, facts.width))
  options = {"crf": str(args.crf), "preset": "fast", "bf": "0", "g": str(args.keyframes)}
  options |= {"sc_threshold": "0", "threads": "1"}
  with decode.opened(source, 1) as (container, stream), av.open(str(path), "w", "mp4") as out:
    to = out.add_stream("libx264", rate=fractions.Fraction(facts.fps).limit_denominator(1001))
    to.height, to.width, to.pix_fmt, to.options = height, width, "yuv420p", options
    to.codec_context.time_base = stream.time_base
    for frame in container.decode(stream):
      if frame.is_corrupt:
        raise Unreadable(f"{source}: corrupt frame at {frame.time:.3f} s; replace or remove it")
      turns = frame.rotation // 90 % 4
      size = (width, height) if turns % 2 else (height, width)
      image = frame.to_ndarray(
        format="rgb24", height=size[0], width=size[1], interpolation="BICUBIC", threads=1
      )
      image = np.ascontiguousarray(np.rot90(image, turns))
      new = av.VideoFrame.from_ndarray(image, format="rgb24")
      new.pts, new.time_base = frame.pts, frame.time_base
      _put(path, out, to, new)
    _put(path, out, to, None)


def _put(
  path: pathlib.Path, out: av.container.OutputContainer, to: av.VideoStream, frame: Any
) -> None:
  try:
    out.mux(to.encode(frame))
  except av.FFmpegError as error:  # otherwise it would be the video's that is read
    raise BadInput(f"{path.parent}: can't write there ({error.strerror})") from None


def _print_savings(
  source: pathlib.Path, output: pathlib.Path, names: Sequence[str], failed: int
) -> None:
  """Bytes, and how long a random clip takes to read, before and after."""
  before, after = (
    sum((folder / name).stat().st_size for name in names) for folder in (source, output)
  )
  some = names[:: max(1, len(names) // _TRIED)]
  seconds = [_seconds(folder, some) for folder in (source, output)]
  console.print(
    f"{output}: {len(names)} videos, {failed} left out; {before / 2**20:,.1f} MiB -> "
    f"{after / 2**20:,.1f} MiB; a clip of {_CLIP} frames is read in {1e3 * seconds[0]:.1f} ms -> "
    f"{1e3 * seconds[1]:.1f} ms (one thread, {len(some)} videos)"
  )


def _seconds(folder: pathlib.Path, names: Sequence[str]) -> float:
  """To read a clip at a random place, on average."""
  random, spent = np.random.default_rng(0), 0.0
  for name in names:
    path = folder / name
    frames = decode.probe(path).frames
    start = int(random.uniform() * max(frames - _CLIP, 0))
    positions = np.minimum(start + np.arange(_CLIP), frames - 1)
    begun = time.perf_counter()
    decode.read(path, positions)
    spent += time.perf_counter() - begun
  return spent / len(names)
