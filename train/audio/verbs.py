"""The arguments of the verbs of sound; each imports what does its work once they make sense."""

import dataclasses
import pathlib
from typing import Annotated, ClassVar

import tyro
from tyro.conf import Positional, arg

from train.cli import OfRun, output_folder
from train.errors import BadInput
from train.fields import field

Sounds = Annotated[Positional[tuple[pathlib.Path, ...]], arg(metavar="SOUND ...")]


@dataclasses.dataclass(frozen=True)
class OfSound(OfRun):
  """What a verb does with a run of sound."""

  subject: ClassVar[str] = "sound"
  known: ClassVar[str] = "speakers"


@dataclasses.dataclass(frozen=True)
class Sample(OfSound):
  """Draw sounds from a run's prior; writes all in one file, a sheet of spectrograms, the codes."""

  num: int = field(16, least=1, most=2**31 - 1)
  """How many sounds are drawn."""
  speaker: str | None = None
  """Who speaks, by name or number; all in turn where it is not given."""
  label: str | None = None
  """What is said, by name or number; all in turn where it is not given."""
  seconds: float | None = field(None, least=0.001, most=3600)
  """How long each is. Default: as the examples that the prior learned from."""
  temperature: float = field(1.0, least=0)
  """Divides the logits of codes; 0 takes the most probable code."""
  top_k: int | None = field(None, least=1)
  """Draw from the k most probable codes only."""
  top_p: float | None = field(None, least=1e-6, most=1)
  """Draw from the most probable codes that hold this mass only."""
  seed: int = field(0, least=0, most=2**31 - 1)
  """The same seed, the same sounds, of the first ones however many are drawn."""
  output: pathlib.Path | None = None
  """The WAV to write, a pause after each sound; beside it a sheet of the first as .png, and all
  codes as .npz. Default: samples-seedSEED.wav in DIR."""

  def run(self) -> None:
    path = self.output or self.dir / f"samples-seed{self.seed}.wav"
    if path.suffix != ".wav" or path.is_dir():
      raise BadInput(f"--output is {path}; it must be a file that ends in .wav")
    from train.audio import generating

    generating.sample(self, path)


@dataclasses.dataclass(frozen=True)
class Speaking(OfSound):
  """Draws the sound of files' codes."""

  sounds: Sounds
  """Files of sound, of any rate, channels and depth."""
  temperature: float = field(1.0, least=0)
  """Divides the logits of samples; 0 takes the most probable sample."""
  seed: int = field(0, least=0, most=2**31 - 1)
  """The same seed and files, the same sounds."""
  output: pathlib.Path | None = None
  """Folder to write to. Default: one in DIR."""


@dataclasses.dataclass(frozen=True)
class Reconstruct(Speaking):
  """Encode and decode sounds; writes each, a sheet of it and the original, codes, and figures."""

  speaker: str | None = None
  """Whose voice the files are of, by name or number, where the decoder is told of speakers."""

  def run(self) -> None:
    folder = output_folder(self.output or self.dir / "reconstructions", self.sounds, what="sound")
    from train.audio import generating

    generating.reconstruct(self, folder)


@dataclasses.dataclass(frozen=True)
class Convert(Speaking):
  """Say the same in another's voice; writes each sound, and a sheet of it and the original."""

  speaker: str = tyro.MISSING
  """In whose voice, by name or number."""

  def run(self) -> None:
    folder = output_folder(self.output or self.dir / "converted", self.sounds, what="sound")
    from train.audio import generating

    generating.convert(self, folder)
