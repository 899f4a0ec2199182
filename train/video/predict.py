"""What a finished run says of any video file."""

import functools
import pathlib
from typing import TYPE_CHECKING

import jax
import numpy as np

from train import compile_cache, run
from train.report import console, write_png
from train.video import files, pictures
from train.video.classify import VideoStage
from train.video.sources import VideoSource

if TYPE_CHECKING:
  from train.video.verbs import Predict

_SHOWN = 5


def predict(args: "Predict", path: pathlib.Path) -> None:
  """Prints a line a video, its classes of the highest scores, and writes what the network saw."""
  compile_cache.enable()
  loaded = run.load(args.dir, args.source())
  done = loaded.the(VideoStage)
  stage, data, classes = done.stage, loaded.config.data, loaded.about["class_names"]
  videos = data if isinstance(data, VideoSource) else VideoSource()
  scores_of = jax.jit(functools.partial(done.model.scores_of, kind=stage.test_crops))
  lines = []
  for video in args.videos:
    facts = files.look(video, fps=videos.fps)
    positions = stage.sampling.test(facts.frames, facts.fps, stage.test_views)
    frames = files.read(video, positions.ravel(), short_side=videos.short_side, threads=0)
    clips = frames.reshape(1, *positions.shape, *frames.shape[1:])
    if loaded.about["frame_shape"][-1] == 1:
      clips = np.uint8(np.rint(clips.mean(-1, keepdims=True)))
    batch = {"clip": clips, "size": np.array([frames.shape[1:3]], np.int32)}
    scores = np.asarray(scores_of(done.learned, batch))[0]
    best = np.argsort(-scores, kind="stable")[:_SHOWN]
    said = ", ".join(f"{classes[i]} {_written(scores[i], stage.scores)}" for i in best)
    line = f"{video}: {said}".encode(errors="backslashreplace").decode()  # any name of a file
    console.print(line, markup=False)
    lines.append((line.removeprefix(f"{video.parent}/"), _seen(stage, batch)))
  write_png(path, pictures.contact_sheet(lines))
  console.print(f"picture: {path}", markup=False)


def _seen(stage: VideoStage, batch: dict[str, np.ndarray]) -> np.ndarray:
  """The first crop of the clip in the middle, u8[T, H, W, C]."""
  clips, size = batch["clip"], batch["size"]
  boxes = jax.vmap(lambda size: stage.crops.boxes(size, "centre"))(size)
  seen = stage.crops.seen(clips[:, clips.shape[1] // 2], jax.tree.map(lambda x: x[:, 0], boxes))
  return np.uint8(np.clip(np.rint(np.asarray(seen[0])), 0, 255))


def _written(score: float, kind: str) -> str:
  return f"{score:.1%}" if kind == "softmax" else f"{score:.2f}"
