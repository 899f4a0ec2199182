"""Videos in an .npz, and which of them are held out."""

import hashlib
import pathlib
import zipfile
import zlib

import numpy as np

from train.data.fingerprint import fingerprint
from train.errors import BadInput
from train.video.sources import VideoArrays
from train.video.videos import Arrays, Videos


def prepare(source: VideoArrays) -> str:
  path = _npz(source)
  options = (source.eval_fraction, source.fps, *([source.fold] if source.fold else []))
  return f"videoarrays/{fingerprint(path.parent, [path], options=options)}"


def open_splits(source: VideoArrays) -> dict[str, Videos]:
  """A part of each class is held out: those whose places have the least digests, or the next."""
  path = _npz(source)
  try:
    with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
      found = {name: np.asarray(arrays[name]) for name in arrays}
  except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise BadInput(f"{path}: not a whole .npz ({error})") from None
  videos, labels = (found.get(name, np.zeros(0)) for name in ("videos", "labels"))
  right = videos.ndim == 5 and videos.dtype == np.uint8 and videos.size
  if not right or labels.shape != videos.shape[:1] or labels.dtype.kind not in "iu":
    raise BadInput(
      f"{path}: videos must be uint8 [N, T, H, W, C] and labels int [N]; found "
      + ", ".join(f"{name} {x.dtype} {list(x.shape)}" for name, x in found.items())
    )
  done = found.get("actions")
  if done is not None and (done.ndim != 3 or done.shape[:2] != videos.shape[:2] or not done.size):
    raise BadInput(
      f"{path}: actions must be {list(videos.shape[:2])} and a third axis, as many a video as it "
      f"has frames; found {list(done.shape)}"
    )
  if done is not None and not (done.dtype.kind in "fiu" and np.isfinite(done).all()):
    raise BadInput(f"{path}: actions are {done.dtype}, or not finite; they must be finite numbers")
  names = found.get("class_names", np.arange(1 + labels.max())).astype(str).tolist()
  if labels.min() < 0 or labels.max() >= len(names):
    raise BadInput(
      f"{path}: labels from {labels.min()} to {labels.max()}; the classes are 0 to {len(names) - 1}"
    )
  held_out = np.zeros(len(labels), bool)
  for label in np.unique(labels):
    rows = np.flatnonzero(labels == label)
    rows = sorted(rows, key=lambda row: hashlib.sha256(str(row).encode()).digest())
    count = int(len(rows) * source.eval_fraction + 0.5)
    held_out[rows[source.fold * count : (source.fold + 1) * count]] = True
  splits = {}
  for name, which in (("train", ~held_out), ("eval", held_out)):
    rows = np.flatnonzero(which)
    if not len(rows):
      raise BadInput(f"{path}: nothing is left for {name}; change data.eval_fraction or data.fold")
    videos_of = [videos[row] for row in rows]
    splits[name] = Arrays(
      [f"{path.name} {r}" for r in rows],
      labels[rows],
      names,
      videos_of,
      source.fps,
      None if done is None else [done[row] for row in rows],
    )
    splits[name].name = f"{path.name} {name}"
  return splits


def _npz(source: VideoArrays) -> pathlib.Path:
  path = pathlib.Path(source.path).expanduser()
  if not source.path or not path.is_file():
    raise BadInput(f"data.path: no file {source.path!r}; VideoArrays reads an .npz")
  return path
