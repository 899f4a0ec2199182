"""The arguments of the verbs of video; each imports what does its work once they make sense."""

import dataclasses
import pathlib
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from train.cli import Verb


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
