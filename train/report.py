"""What a person sees of a run: progress, metrics as lines and curves, pictures.

metrics.jsonl gets {"stage", "step", "kind", figures ...}; kind is "train" (that step's batch),
"eval" (the held-out split) or "report" (figures too dear for every evaluation). Only two figures
differ between two runs of the same config: `seconds`, the time spent on the stage, and `data_wait`,
the part of the time since the last such line for which devices stood and waited for a batch.
"""

import csv
import json
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress, TextColumn
from scipy.io import wavfile

from train.errors import Damaged
from train.files import whole

console = Console(highlight=False, soft_wrap=True)


class Metrics:
  """Writes a run's metrics. Making one cuts the file back to what a resumed stage has done."""

  def __init__(self, folder: pathlib.Path, stage: str, step: int):
    """`step`: the one restored; later lines of the stage go, as that work is done again."""
    self._stage, self._start = stage, time.monotonic()
    from tensorboardX import SummaryWriter  # slow: it imports PyTorch where that is installed

    path = folder / "metrics.jsonl"
    self._start -= _cut_back(path, stage, step)
    self._file = open(path, "a")  # noqa: SIM115 (closed by `close`)
    self._events = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

  def write(self, step: int, kind: str, figures: Mapping[str, float]) -> None:
    seconds = {"seconds": round(self.seconds(), 3)}
    line = {"stage": self._stage, "step": step, "kind": kind, **figures, **seconds}
    self._file.write(json.dumps(line) + "\n")
    for name, value in figures.items():
      self._events.add_scalar(f"{self._stage}/{kind}/{name}", value, step)

  def pictures(self, step: int, files: Mapping[str, Any]) -> None:
    add_pictures(self._events, self._stage, step, files)

  def flush(self) -> None:
    """Until every line is on disk: a checkpoint must never be ahead of its metrics."""
    self._file.flush()
    os.fsync(self._file.fileno())

  def seconds(self) -> float:
    """Time spent on the stage, that of earlier processes included."""
    return time.monotonic() - self._start

  def close(self) -> None:
    self._file.close()
    self._events.close()


def add_pictures(events: Any, stage: str, step: int, files: Mapping[str, Any]) -> None:
  """Shows the pictures among a report's files in TensorBoard."""
  for name, content in files.items():
    if name.endswith(".png"):
      title = f"{stage}/{name.removesuffix('.png')}"
      events.add_image(title, content, step, dataformats="HWC")


class NoMetrics:
  """What processes other than the first write: nothing."""

  def write(self, *args, **kwargs) -> None: ...
  def pictures(self, *args, **kwargs) -> None: ...
  def flush(self) -> None: ...
  def close(self) -> None: ...

  def seconds(self) -> float:
    return 0.0


def _cut_back(path: pathlib.Path, stage: str, step: int) -> float:
  """Removes the stage's lines after a step; the seconds that the last one kept was written at."""
  kept, seconds = [], 0.0
  if not path.exists():
    return seconds
  for line in path.read_text().splitlines(keepends=True):
    try:
      record = json.loads(line)
    except ValueError:  # the last line of a run that was killed
      continue
    if record["stage"] != stage or record["step"] <= step:
      kept.append(line if line.endswith("\n") else line + "\n")
      if record["stage"] == stage:
        seconds = record.get("seconds", 0.0)
  with whole(path) as temporary:
    temporary.write_text("".join(kept))
  return seconds


class Bar:
  """Progress of a stage: a bar on a terminal, a line now and then elsewhere."""

  def __init__(self, stage: str, start: int, steps: int, *, quiet: bool = False):
    self._stage, self._steps, self._quiet = stage, steps, quiet
    self._first: int | None = None  # the rate is counted from the first figures on: not compiling
    self._last_line, self._last_time = start, time.monotonic()
    self._progress = None
    if console.is_terminal and not quiet:
      text = TextColumn("{task.completed}/{task.total} {task.fields[text]}")
      self._progress = Progress(*Progress.get_default_columns(), text, console=console)
      self._progress.start()
      self._task = self._progress.add_task(stage, total=steps, completed=start, text="compiling")

  def update(self, step: int, figures: Mapping[str, float]) -> None:
    if self._quiet:
      return
    now = time.monotonic()
    if self._first is None:
      self._first, self._begun = step, now
    rate = (step - self._first) / max(now - self._begun, 1e-9)
    shown = f"{rate:.1f}/s" if rate else ""
    text = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
    if self._progress:
      self._progress.update(self._task, completed=step, text=f"{shown} {text}")
    elif (
      step - self._last_line >= self._steps / 10
      or now - self._last_time >= 30
      or step == self._steps
    ):
      left = f", {(self._steps - step) / rate:.0f} s left" if rate else ""
      self._last_line, self._last_time = step, now
      console.print(f"{self._stage} {step}/{self._steps} {shown}{left} {text}")

  def close(self) -> None:
    if self._progress:
      self._progress.stop()


def write_report(folder: pathlib.Path, files: Mapping[str, Any]) -> None:
  """Writes the files of a `Report`, each whole or not at all."""
  for name, content in files.items():
    with whole(folder / name) as temporary:
      _WRITERS[pathlib.Path(name).suffix](temporary, content)


def write_png(path: pathlib.Path, picture: np.ndarray) -> None:
  """Writes a picture u8[H, W, 3] whole or not at all."""
  write_report(path.parent, {path.name: picture})


def write_npz(path: pathlib.Path, **arrays: np.ndarray) -> None:
  """Writes arrays by name whole or not at all."""
  write_report(path.parent, {path.name: arrays})


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Arrays by name, as a stage has kept them.

  Raises:
    Damaged: they are missing or can't be read.
  """
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:  # there is hardly a kind that zips do not raise
    raise Damaged(f"{path} can't be read ({error}); run fit again") from None


def _npz(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  with open(path, "wb") as file:
    np.savez_compressed(file, **arrays)


def _png(path: pathlib.Path, picture: np.ndarray) -> None:
  Image.fromarray(picture).save(path, format="png")


def _gif(path: pathlib.Path, frames: np.ndarray) -> None:
  first, *others = map(Image.fromarray, frames)
  first.save(path, format="gif", save_all=True, append_images=others, duration=100, loop=0)


def _wav(path: pathlib.Path, sound: tuple[int, np.ndarray]) -> None:
  rate, samples = sound
  wavfile.write(path, rate, np.asarray(samples, np.int16))


def _csv(path: pathlib.Path, rows: Sequence[Sequence[Any]]) -> None:
  with open(path, "w", newline="", errors="backslashreplace") as file:  # names of files, say
    csv.writer(file).writerows(rows)


_WRITERS = {".png": _png, ".gif": _gif, ".wav": _wav, ".csv": _csv, ".npz": _npz}


def usage_plot(counts: np.ndarray, perplexity: float) -> np.ndarray:
  """How often each code is used, most used first, as a picture u8[H, W, 3]."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 3.2), dpi=110, layout="constrained")
  canvas = FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  share = np.sort(counts)[::-1] / max(counts.sum(), 1)
  axes.bar(np.arange(len(share)), share * 100, width=1.0, color="#3b6ea5")
  axes.axhline(100 / len(share), color="#b5482a", linewidth=1, label="all codes alike")
  used = int((counts > 0).sum())
  axes.set(
    title=f"Codebook usage: {used} of {len(share)} codes, perplexity {perplexity:.1f}",
    xlabel="code, most used first",
    ylabel="% of positions",
    xlim=(-0.5, len(share) - 0.5),
  )
  axes.legend(frameon=False)
  axes.spines[["top", "right"]].set_visible(False)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3].copy()
