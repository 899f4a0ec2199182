"""What a stage is to the loop: pure functions over pytrees, and the examples they are for."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from train import learn
from train.config import Experiment, Stage
from train.data.examples import Examples
from train.errors import BadInput
from train.learn import State

Batch = dict[str, Any]  # what Examples read, `index` i32[B], and when evaluated `mask` bool[B]
Splits = Mapping[str, Examples]  # "train", "eval", and "test" where there is one


class Report(NamedTuple):
  """What a person looks at when a stage is finished."""

  figures: Mapping[str, float] = {}  # too dear for every evaluation
  # by name: .png u8[H, W, 3]; .gif u8[T, H, W, 3]; .wav (rate, i16[T] or [T, C]); .csv rows;
  # .npz arrays by name
  files: Mapping[str, Any] = {}


class Settle(NamedTuple):
  """How a state is made ready for an evaluation by some of the batches that come next."""

  batches: int
  measure: Callable[[Any, Any, Batch, jax.Array], Any]  # (learned, context, batch, key) -> sums
  put: Callable[[State, Any], State]  # (state, those of all batches) -> state


class Task(NamedTuple):
  """One stage's functions. Batches are global under jit, a device's share under pmap."""

  init: Callable[..., State]  # (key, context) -> state; where there is a `start`, it comes third
  # (state, context, batch, key, *, axis_name=None) -> (state, metrics), see `learn.step_of`
  step: Callable[..., tuple[State, dict[str, jax.Array]]]
  evaluate: Callable[[Any, Any, Batch], Any]  # (learned, context, batch) -> sums that add up
  figures: Callable[[Any], dict[str, float]]  # of the sums of a whole split
  best: str  # "-loss" or "+recall": the figure whose least or most is best
  examples: Callable[[], Splits]
  spec: dict[str, Any]  # one example's shapes and types
  # (state, context) -> what is evaluated, reported and passed on; once an evaluation
  learned: Callable[[State, Any], Any] = learn.learned
  report: Callable[[Any, Splits], Report] = lambda learned, examples: Report()  # on the host
  context: Any = ()  # arrays that are read but never changed
  start: Callable[[], Any] | None = None  # pretrained weights, read on the host when a run begins
  settle: Settle | None = None  # what is done to the state before an evaluation
  model: Any = None  # for those who load the stage


class Work(NamedTuple):
  """A stage that does not train but makes something: examples for those after it, mostly."""

  run: Callable[[pathlib.Path, Callable[[], bool]], None]  # (folder, stop); may raise Preempted
  open: Callable[[pathlib.Path], Any]  # what `run` made in the folder, such as Splits
  figures: Callable[[Any], dict[str, float]]
  what: Callable[[], str]  # what is to be made, in words
  files: tuple[str, ...] = ()  # those in the folder that a person looks at
  model: Any = None  # for those who load the stage, where it is of one


class Finished(NamedTuple):
  """A stage that is done."""

  stage: Stage
  task: Task | Work
  learned: Any  # of a Task's best state, on the host; what a Work made
  figures: dict[str, float]

  @property
  def model(self) -> Any:
    return self.task.model


@dataclasses.dataclass(frozen=True)
class Run:
  """An experiment, its data, and those of its stages that are finished."""

  config: Experiment
  stages: dict[str, Finished]
  about: dict[str, Any]  # what the source says of the data, kept with the run
  open: Callable[[], Any]  # the splits, opened on the first call
  folder: str = "this run"

  @property
  def splits(self) -> Any:
    """What the source opens: only what needs the data asks for it."""
    return self.open()

  def the(self, kind: type) -> Finished:
    """The last finished stage of a kind.

    Raises:
      BadInput: there is none, or it is not finished.
    """
    names = [name for name, stage in self.config.stages.items() if isinstance(stage, kind)]
    if not names:
      raise BadInput(
        f"{self.folder}: the experiment {self.config.name!r} has no stage of the kind "
        f"{kind.__name__}"
      )
    self.needs(names[0])
    return self.stages[[name for name in names if name in self.stages][-1]]

  def needs(self, name: str) -> None:
    """Raises BadInput unless a stage is finished."""
    if name not in self.stages:
      raise BadInput(f"{self.folder}: the stage {name!r} is not finished; run fit again to go on")


def batch_spec(task: Task, rows: int) -> dict[str, Any]:
  """The shapes and types of a training batch."""
  example = task.spec | {"index": jax.ShapeDtypeStruct((), np.int32)}
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape), x.dtype), example)


def reported(examples: Splits) -> Examples:
  """The split that figures are reported on: the test split where there is one."""
  return examples["test"] if "test" in examples else examples["eval"]
