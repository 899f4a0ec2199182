"""A network whose weights were trained elsewhere, as a run that is done.

The weights are read from a file, given vqlab's names, and kept as a checkpoint; the file is not
needed any more. What needs a trained network loads it as it loads any other:

    done = run.load("runs/x3d").the(Imported)       # .model, .learned: {"params", "batch_stats"}
"""

import contextlib
import dataclasses
import hashlib
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from train import weights
from train.checkpoint import Checkpoints, to_host
from train.config import Experiment, Source, Stage
from train.errors import BadInput, Damaged, Failed
from train.fields import field, nearest
from train.learn import parameter_count
from train.task import Run, Work
from vqlab import interop, video
from vqlab.interop.video import LAYOUTS, layout_of

Variables = dict[str, Any]  # {"params", "batch_stats"} of a network, the latter where it has norms


@dataclasses.dataclass(frozen=True)
class NoData(Source):
  """What a run reads that only keeps weights."""

  def open(self) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class Imported(Stage):
  """A network of `vqlab.video` with the weights of a file."""

  model: str = field("")
  """The network's name."""
  num_classes: int = field(400, least=1)
  """Classes that it tells apart; as many as the weights have."""
  layout: str = field("")
  """The project in whose way the tensors are named."""
  file: str = field("", may_vary=True)
  """Where the weights were read; not needed any more."""
  sha256: str = field("")
  """Digest of that file: of no other is this the run."""

  def network(self) -> nn.Module:
    """The module that the weights are for."""
    fields = {layout.project: layout.fields for layout in LAYOUTS.get(self.model, ())}
    if self.layout not in fields:
      known = ", ".join(fields) or "none"
      raise ValueError(f"layout is {self.layout!r}; for {self.model!r} there are {known}")
    return video.create(self.model, self.num_classes, **fields[self.layout])

  def make(self, run: Run) -> Work:
    network = self.network()

    def work(folder: pathlib.Path, stop: Callable[[], bool]) -> None:
      found, variables = read(self.model, self.file)
      if found.sha256 != self.sha256:
        raise Failed(f"{self.file} has changed since this run was begun")
      _save(folder / "checkpoints", variables)

    def figures(learned: Variables) -> dict[str, float]:
      return {
        "million_parameters": parameter_count(learned["params"]) / 1e6,
        "classes": float(self.num_classes),
        "tensors": float(len(jax.tree.leaves(learned))),
      }

    return Work(
      run=work,
      open=lambda folder: _restored(folder / "checkpoints", _shapes(self.model, network)),
      figures=figures,
      what=lambda: f"{self.model} of {self.num_classes} classes, named as {self.layout} does",
      model=network,
    )


def read(model: str, file: str | pathlib.Path) -> tuple[Imported, Variables]:
  """The stage of a network's weights in a file, and the weights.

  Raises:
    BadInput: no network has this name, or the file is none of its weights.
  """
  check_name(model)
  path = pathlib.Path(file).expanduser().absolute()
  tensors = weights.read(path)
  try:
    layout = layout_of(model, tensors)
    network = interop.video_model(model, tensors)
    variables = interop.from_torch(model, tensors, model=network)
  except ValueError as error:
    raise BadInput(f"{path}: {error}") from None
  with open(path, "rb") as opened:
    digest = hashlib.file_digest(opened, "sha256").hexdigest()
  stage = Imported(
    model=model,
    num_classes=network.num_classes,
    layout=layout.project,
    file=str(path),
    sha256=digest,
  )
  return stage, variables


def check_name(model: str) -> None:
  """Raises BadInput unless there is a network of this name."""
  if model not in video.names():
    near = nearest(model, video.names())
    raise BadInput(f"no network is called {model!r}{near} (python -m train models lists them)")


def experiment(stage: Imported) -> Experiment:
  """The run that is one network's weights."""
  return Experiment(name=stage.model, data=NoData(), stages={"weights": stage})


def _shapes(model: str, network: nn.Module) -> Variables:
  """The network's variables, shapes in place of arrays, on the first device."""
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  shaped = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here)
  return jax.tree.map(shaped, video.variable_shapes(model, network))


def _save(folder: pathlib.Path, variables: Variables) -> None:
  """Writes the checkpoint, anew where there is one that could not be read."""
  shutil.rmtree(folder, ignore_errors=True)
  with contextlib.closing(Checkpoints(folder)) as checkpoints:
    checkpoints.save(0, variables, None)
    checkpoints.wait()


def _restored(folder: pathlib.Path, shapes: Variables) -> Variables:
  """The weights that were kept, on the host.

  Raises:
    Damaged: they are missing, or can't be read.
  """
  found = None
  if folder.is_dir():
    with contextlib.closing(Checkpoints(folder, read_only=True)) as checkpoints:
      try:
        found = checkpoints.latest(shapes)
      except Failed:
        raise Damaged(f"{folder}: its weights can't be read; run import again") from None
  if found is None:
    raise Damaged(f"{folder} holds no weights; run import again")
  return to_host(found[1])
