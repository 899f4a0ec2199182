"""Videos in files: those that FFmpeg reads, arrays in .npy, folders of pictures."""

import math
import pathlib
import re
import tokenize
from collections.abc import Sequence

import numpy as np
from PIL import Image

from train.video.videos import Facts, Unreadable, Videos

_DAMAGED = (ValueError, EOFError, SyntaxError, OverflowError, tokenize.TokenError)  # of NumPy
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class Files(Videos):
  """Videos of a split, each a file or a folder of pictures."""

  def __init__(
    self,
    paths: Sequence[pathlib.Path],
    names: Sequence[str],
    labels: np.ndarray,
    class_names: Sequence[str],
    facts: Sequence[Facts],
    *,
    short_side: int | None = None,
  ):
    """`facts` are those of `look` at the paths."""
    super().__init__(names, labels, class_names, [f.scaled(short_side) for f in facts])
    self._paths, self._short_side, self._facts = tuple(paths), short_side, facts

  def smaller(self, factor: float) -> Videos:
    if self._short_side is None:
      return self
    side = math.ceil(self._short_side * factor)
    made = Files(
      self._paths, self.names, self.labels, self.class_names, self._facts, short_side=side
    )
    made.name, made.num_threads, made.broken = self.name, self.num_threads, self.broken
    return made

  def read(self, index: int, positions: np.ndarray) -> np.ndarray:
    frames = read(self._paths[index], positions, short_side=self._short_side)
    if frames.shape[1] > self.shape[0] or frames.shape[2] > self.shape[1]:
      found, most = (f"{h}x{w}" for h, w in (frames.shape[1:3], self.shape[:2]))
      raise Unreadable(
        f"{self._paths[index]}: frames of {found}, but {most} were the largest found"
      )
    return frames


def look(path: pathlib.Path, *, fps: float = 30.0) -> Facts:
  """What there is; `fps`: of arrays and pictures, which do not say.

  Raises:
    Unreadable: it is no video, or a broken one.
    OSError: there is nothing.
  """
  if path.is_dir():
    pictures = _pictures(path)
    return Facts(len(pictures), fps, *_picture(pictures[0], None).shape[:2])
  if path.suffix == ".npy":
    frames = _array(path)
    return Facts(len(frames), fps, *frames.shape[1:3])
  if path.suffix.lower() in PICTURES:
    raise Unreadable(f"{path}: a picture; a folder of them is a video where a list names it")
  from train.video import decode

  return decode.probe(path)


def size(path: pathlib.Path) -> int:
  """Bytes of a video."""
  return sum(file.stat().st_size for file in (_pictures(path) if path.is_dir() else [path]))


def read(
  path: pathlib.Path, positions: np.ndarray, *, short_side: int | None = None, threads: int = 1
) -> np.ndarray:
  """Frames u8[T, H, W, 3] at positions i64[T], upright.

  Args:
    short_side: pixels that the shorter side is scaled to; None: as it is.
    threads: of the decoder.

  Raises:
    Unreadable: they can't be read.
  """
  try:
    if path.is_dir():
      pictures = _pictures(path)
      frames = [_picture(pictures[i], short_side) for i in positions]
    elif path.suffix == ".npy":
      frames = [_scaled(Image.fromarray(x), short_side) for x in _array(path)[positions]]
    else:
      from train.video import decode

      return decode.read(path, positions, short_side=short_side, threads=threads)
  except (OSError, IndexError) as error:  # it is gone, or has fewer frames than it had
    raise Unreadable(f"{path}: changed since it was looked at ({error})") from None
  if len({x.shape for x in frames}) > 1:
    raise Unreadable(f"{path}: pictures of different sizes")
  return np.stack(frames)


def _array(path: pathlib.Path) -> np.ndarray:
  try:
    frames = np.lib.format.open_memmap(path, mode="r")
  except _DAMAGED as error:
    raise Unreadable(f"{path}: not a whole array in NumPy's format ({error})") from None
  if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
    raise Unreadable(
      f"{path}: {frames.dtype} {list(frames.shape)}; frames must be uint8 [T, H, W, 3]"
    )
  return frames


def _pictures(folder: pathlib.Path) -> list[pathlib.Path]:
  """By the numbers in their names, so that 10 comes after 9."""
  padded = lambda path: re.sub("[0-9]+", lambda number: number[0].zfill(20), path.stem)
  found = sorted((p for p in folder.iterdir() if p.suffix.lower() in PICTURES), key=padded)
  if not found:
    raise Unreadable(f"{folder}: no pictures in it ({', '.join(PICTURES)})")
  first, last = (re.split("[0-9]", path.stem)[0] for path in (found[0], found[-1]))
  if first != last:  # frames and flow, say
    raise Unreadable(f"{folder}: pictures called {first}* and {last}*; keep those of one kind")
  return found


def _picture(path: pathlib.Path, short_side: int | None) -> np.ndarray:
  try:
    with Image.open(path) as image:
      return _scaled(image.convert("RGB"), short_side)
  except (OSError, SyntaxError, ValueError) as error:  # of Pillow, by format
    raise Unreadable(f"{path}: not a whole picture ({error})") from None


def _scaled(image: Image.Image, short_side: int | None) -> np.ndarray:
  size = Facts(1, 1.0, image.height, image.width).scaled(short_side)
  if (size.height, size.width) != (image.height, image.width):
    image = image.resize((size.width, size.height), Image.Resampling.BICUBIC)
  return np.asarray(image)
