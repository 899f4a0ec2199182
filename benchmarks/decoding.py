"""Frames a second that readers of video files reach, over loops in one thread.

    python -m benchmarks.decoding FOLDER [--threads 2] [--rounds 5] [--clip 16]

Each file of the folder is read whole, by `train.video.decode.read` in some threads, by a plain loop
of PyAV, and by OpenCV if it is installed, each in one (but PyAV converts colours in as many threads
as it likes). --clip: then also clips of so many frames in
a row from random places, by `read` in one thread over decoding each file from its start. The sides
alternate; the fastest of each counts.
"""

import argparse
import pathlib
import time
from collections.abc import Callable
from concurrent import futures

import av
import numpy as np

from train.video import decode

try:
  import cv2
except ImportError:
  cv2 = None


def whole(path: pathlib.Path, frames: int) -> int:
  return len(decode.read(path, np.arange(frames)))


def plain(path: pathlib.Path, *, last: float = np.inf) -> int:
  count = 0
  with av.open(str(path)) as container:
    container.streams.video[0].codec_context.thread_count = 1
    for frame in container.decode(video=0):
      frame.to_ndarray(format="rgb24")
      count += 1
      if count > last:
        break
  return count


def opencv(path: pathlib.Path) -> int:
  capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
  count = 0
  while (given := capture.read())[0]:
    cv2.cvtColor(given[1], cv2.COLOR_BGR2RGB)
    count += 1
  return count


def best_rates(sides: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
  """Frames a second: the most of some rounds, in each of which every side has its turn."""
  rates = dict.fromkeys(sides, 0.0)
  for _ in range(rounds):
    for name, run in sides.items():
      start = time.perf_counter()
      frames = run()
      rates[name] = max(rates[name], frames / (time.perf_counter() - start))
  return rates


def show(rates: dict[str, float]) -> None:
  ours, *peers = rates
  print(f"{ours}: {rates[ours]:,.0f} frames a second")
  for name in peers:
    print(f"{name}: {rates[name]:,.0f}; ours {rates[ours] / rates[name]:.2f}x", flush=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--clip", type=int, default=0)
  args = parser.parse_args()
  counts = {}
  for path in sorted(path for path in args.folder.iterdir() if path.is_file()):
    try:
      counts[path] = decode.probe(path).frames
    except decode.Unreadable:
      continue
  print(f"{len(counts)} files, {sum(counts.values()):,} frames")
  if cv2:
    cv2.setNumThreads(1)
  with futures.ThreadPoolExecutor(args.threads) as pool:
    sides = {f"read, {args.threads} threads": lambda: sum(pool.map(whole, counts, counts.values()))}
    if args.threads > 1:
      sides["read, 1 thread"] = lambda: sum(map(whole, counts, counts.values()))
    sides["PyAV, 1 thread"] = lambda: sum(map(plain, counts))
    if cv2:
      sides["OpenCV, 1 thread"] = lambda: sum(map(opencv, counts))
    show(best_rates(sides, args.rounds))
  if args.clip:
    rng = np.random.default_rng(0)
    starts = {path: int(rng.integers(max(1, n - args.clip + 1))) for path, n in counts.items()}
    rows = {k: np.arange(s, min(s + args.clip, counts[k])) for k, s in starts.items()}
    total = sum(map(len, rows.values()))
    clips = lambda: sum(len(decode.read(path, row)) for path, row in rows.items())
    loops = lambda: total + 0 * sum(plain(path, last=row[-1]) for path, row in rows.items())
    print(f"clips of {args.clip} frames")
    show(best_rates({"read, 1 thread": clips, "PyAV from the start": loops}, args.rounds))


if __name__ == "__main__":
  main()
