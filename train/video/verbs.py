"""The arguments of the verbs of video; each imports what does its work once they make sense."""

import dataclasses
import pathlib
from typing import Annotated, ClassVar

import tyro
from tyro.conf import Positional, arg

from train.cli import OfRun, Verb
from train.errors import BadInput
from train.fields import field


@dataclasses.dataclass(frozen=True)
class Import(Verb):
  """Keep a network's published weights as a run that is done; nothing in the file is executed."""

  name: Annotated[Positional[str], arg(metavar="NAME")]
  """The network, as `python -m train models` lists them."""
  file: Annotated[Positional[pathlib.Path], arg(metavar="FILE")]
  """A state dict, or a checkpoint with one: PyTorch's .pth, Caffe2's .pkl, .npz, .safetensors."""
  workdir: pathlib.Path = tyro.MISSING
  """Folder of the run; new, empty, or its own."""

  def run(self) -> None:
    from train import run, summary
    from train.video import imported

    stage, _ = imported.read(self.name, self.file)
    summary.print_done(self.workdir, run.fit(imported.experiment(stage), self.workdir))


@dataclasses.dataclass(frozen=True)
class Models(Verb):
  """List the networks for clips: their sizes and costs, and whose weights can be imported."""

  names: Annotated[Positional[tuple[str, ...]], arg(metavar="[NAME ...]")] = ()
  """Those to list. Default: all."""

  def run(self) -> None:
    from train.video import models

    models.print_table(self.names)


@dataclasses.dataclass(frozen=True)
class Predict(OfRun):
  """Name what happens in videos, a line each; writes a sheet of what the network saw."""

  videos: Annotated[Positional[tuple[pathlib.Path, ...]], arg(metavar="VIDEO ...")]
  """Video files, frames in .npy, or folders of pictures."""
  output: pathlib.Path | None = None
  """The PNG to write. Default: predictions.png in DIR."""

  def run(self) -> None:
    if not self.videos:
      raise BadInput("name at least one video, after DIR")
    path = self.output or self.dir / "predictions.png"
    if path.suffix != ".png" or path.is_dir():
      raise BadInput(f"--output is {path}; it must be a file that ends in .png")
    for video in self.videos:
      if not video.exists():
        raise BadInput(f"{video}: no such file")
    from train.video import predict

    predict.predict(self, path)


@dataclasses.dataclass(frozen=True)
class PredictFrames(OfRun):
  """Draw the frames that follow a video's first ones, wholly in codes; a sheet, and moving."""

  subject: ClassVar[str] = "videos"
  known: ClassVar[str] = "frame_shape"

  video: Annotated[Positional[pathlib.Path | None], arg(metavar="[VIDEO]")] = None
  """A video file, frames in .npy, or a folder of pictures. Default: held-out ones of the run."""
  start: int = field(0, least=0)
  """Position in the video of the first frame that is given."""
  given: int = field(0, least=0)
  """Frames that are given; 0: as many as in training."""
  frames: int = field(0, least=0)
  """Frames to draw; 0: those that are left of as many as in training."""
  actions: pathlib.Path | None = None
  """An .npy, float[T, A]: what is done after each frame of VIDEO, those to come included, where the
  prior is told of actions."""
  label: str | None = None
  """The class of VIDEO, by name or number, where the prior is told of it."""
  num: int = field(8, least=1)
  """Held-out videos, where no VIDEO is named."""
  seed: int = field(0, least=0, most=2**31 - 1)
  """Of what is drawn."""
  temperature: float = field(1.0, least=0)
  """Divides the logits; 0: the most probable codes."""
  top_k: int | None = field(None, least=1)
  """Draw from the k most probable codes only."""
  top_p: float | None = field(None, least=1e-6, most=1)
  """Draw from the most probable codes with this mass only."""
  output: pathlib.Path | None = None
  """The PNG to write, with a .gif and the codes as .npz beside it. Default: foretold.png in DIR."""

  def run(self) -> None:
    path = self.output or self.dir / "foretold.png"
    if path.suffix != ".png" or path.is_dir():
      raise BadInput(f"--output is {path}; it must be a file that ends in .png")
    written = [path.with_suffix(suffix).resolve() for suffix in (".png", ".gif", ".npz")]
    for file in (self.video, self.actions):
      if file is not None and not file.exists():
        raise BadInput(f"{file}: no such file")
      if file is not None and file.resolve() in written:
        raise BadInput(f"--output {path} would overwrite {file}, which is read")
    if self.video is None and (self.actions is not None or self.label is not None or self.start):
      raise BadInput("--start, --actions and --label are of a VIDEO; name it, after DIR")
    from train.video import predict_frames

    predict_frames.predict(self, path)


@dataclasses.dataclass(frozen=True)
class Reencode(Verb):
  """Write a folder's videos anew, smaller and quick to seek in; what is there already stays.

  Names stay, so that lists of them do; what is written is H.264 in MP4 whatever a name ends in.
  """

  source: Annotated[Positional[pathlib.Path], arg(metavar="FOLDER")]
  """Folder of the videos, at any depth."""
  output: pathlib.Path = tyro.MISSING
  """Folder to write to, another one."""
  short_side: int | None = field(256, least=16, most=2**14)
  """Pixels of the shorter side; None: as it is."""
  keyframes: int = field(8, least=1)
  """Frames from a keyframe to the next: to read a clip, so many at most are decoded in vain."""
  crf: int = field(20, least=0, most=51)
  """Quality, x264's constant rate factor; less is better."""
  num_threads: int = field(8, least=1)
  """Videos at a time."""

  def run(self) -> None:
    if not self.source.is_dir():
      raise BadInput(f"{self.source}: no such folder")
    if self.output.resolve().is_relative_to(self.source.resolve()):
      raise BadInput(f"--output {self.output} is in {self.source}; name a folder outside of it")
    from train.video import reencode

    reencode.reencode(self)
