"""A split judged by all views: every video's scores, what is taken for what, the hardest videos."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train.data.pipeline import batches_of
from train.judging import confusion_of, confusion_picture
from train.learn import Learned
from train.task import Report
from train.video import pictures
from train.video.clips import Clips

if TYPE_CHECKING:
  from train.video.classify import VideoStage

_HARDEST = 12


def report(
  stage: "VideoStage",
  scores_of: Callable[..., jax.Array],
  learned: Learned,
  clips: Clips,
  rows: int,
) -> Report:
  """Judges every video once, `rows` at a time or a few more over this process' devices.

  Files: scores.csv for people, scores.npz for programs (scores f32[N, classes], labels, names),
  confusion.png, hardest.png.
  """
  function = jax.jit(functools.partial(scores_of, kind=stage.test_crops))
  scores, whole = scores_of_all(function, learned, clips, rows)
  videos = clips.videos
  labels, names = videos.labels[whole], np.array(videos.names)[whole]
  classes, scores = videos.class_names, scores[whole]
  order = np.argsort(-scores, axis=1, kind="stable")
  own = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
  way = f"{stage.test_views}x{stage.test_crops}_{stage.scores}"
  figures = {
    f"top{k}_{way}": float(np.mean(np.any(order[:, :k] == labels[:, None], axis=1)))
    for k in (1, 5)
    if k < len(classes)
  }
  best = order[:, 0]
  table = [("video", "class", "predicted", "score of the class", "score of the predicted")]
  table += [
    (name, classes[label], classes[found], f"{a:.6g}", f"{b:.6g}")
    for name, label, found, a, b in zip(names, labels, best, own, scores.max(1), strict=True)
  ]
  confusion = confusion_of(labels, best, len(classes))
  files = {
    "scores.csv": table,
    "scores.npz": {"scores": scores, "labels": labels, "names": names, "classes": list(classes)},
    "confusion.png": confusion_picture(confusion, classes, what="videos"),
    "hardest.png": _hardest(stage, clips, np.flatnonzero(whole), labels, scores, own),
  }
  return Report(figures, files)


def scores_of_all(
  function: Callable[..., jax.Array], learned: Learned, clips: Clips, rows: int
) -> tuple[np.ndarray, np.ndarray]:
  """Scores f32[N, classes] of all videos, and which could be read."""
  devices = np.array(jax.local_devices())
  mesh = Mesh(devices, ("data",), axis_types=(AxisType.Auto,))
  everywhere, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
  learned = jax.device_put(learned, everywhere)
  rows = -(-max(rows, 1) // len(devices)) * len(devices)
  scores, whole = [], []
  for batch in batches_of(clips, range(len(clips)), rows):
    mask = batch["mask"]
    whole.append(batch["whole"][mask])
    given = jax.device_put({k: batch[k] for k in ("clip", "size")}, split)
    scores.append(np.asarray(function(learned, given))[mask])
  return np.concatenate(scores), np.concatenate(whole)


def _hardest(
  stage: "VideoStage",
  clips: Clips,
  rows: np.ndarray,
  labels: np.ndarray,
  scores: np.ndarray,
  own: np.ndarray,
) -> np.ndarray:
  """The videos whose class has the least score, the worst first."""
  classes, lines = clips.videos.class_names, []
  worst = np.argsort(own, kind="stable")[:_HARDEST]
  found = clips.read(rows[worst], None)
  for i, clip, size in zip(worst, found["clip"], found["size"], strict=True):
    predicted = int(scores[i].argmax())
    said = (
      f"{classes[labels[i]]} {own[i]:.3g}; taken for {classes[predicted]} {scores[i].max():.3g}"
    )
    if predicted == labels[i]:
      said = f"{classes[labels[i]]} {own[i]:.3g}, rightly"
    lines.append((f"{clips.videos.names[rows[i]]}: {said}", clip[len(clip) // 2], size))
  return pictures.contact_sheet([(said, x[:, : s[0], : s[1]]) for said, x, s in lines])
