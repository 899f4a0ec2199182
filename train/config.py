"""Experiments as frozen dataclasses that make things: stages in order over one source of data.

    def get_config() -> Experiment:
      return Experiment(
        name="mnist",
        data=Idx(path="data/mnist"),
        stages={"tokenizer": VQVAEStage(...), "prior": PriorStage(...)},
      )

A kind of data, of stage or of optimizer is a subclass with its one method, in the subject it
belongs to or in the config file itself; nothing lists them.
"""

import dataclasses
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from train.errors import BadInput
from train.fields import field

if TYPE_CHECKING:
  import optax

  from train.task import Run, Task, Work


@dataclasses.dataclass(frozen=True)
class Source:
  """Where examples come from."""

  def prepare(self) -> str:
    """What the data are, so that a run is never resumed on others; prepares them where need be.

    Not where they lie: what `train.data.fingerprint` says of files stays the same where they move.
    With several processes one does so before the others.
    """
    return type(self).__name__

  def differs(self, before: str, now: str) -> str:
    """How data differ that `prepare` once called `before` and calls `now`; '' where they do not."""
    return "" if before == now else f"{before} -> {now}"

  def open(self) -> Any:
    """The splits, as the stages of this kind of data take them: Examples by name, say."""
    raise NotImplementedError

  def about(self, splits: Any) -> dict[str, Any]:
    """What is kept with a run, in JSON's types, for stages to be made without the data."""
    return {}


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """What every optimizer has."""

  learning_rate: float = field(2e-4, least=0)
  """The learning rate after the warm-up."""
  warmup_steps: int = field(0, least=0)
  """Steps over which the learning rate rises."""
  warmup_from: float = field(0.0, least=0)
  """The learning rate that it rises from."""
  schedule: Literal["constant", "cosine", "whole_cosine", "linear", "step"] = field("constant")
  """What the learning rate does after the warm-up: cosine and linear end at 0 on the last step;
  step multiplies it at `decay_at`. whole_cosine is a cosine over all steps, those of the warm-up
  included, which rises to where it is then (PySlowFast's)."""
  decay_at: tuple[float, ...] = field((0.5, 0.75), least=0, most=1)
  """When, as parts of the stage's steps (schedule=step)."""
  decay_by: float = field(0.1, least=0)
  """What the learning rate is multiplied by (schedule=step)."""
  clip_norm: float = field(0.0, least=0)
  """Largest global norm of a gradient; 0 leaves gradients as they are."""

  def make(self, steps: int) -> "optax.GradientTransformation":
    """The optimizer of a stage of so many steps; clipping is not its work."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Stage:
  """What every stage has."""

  batch_size: int = field(128, least=1, most=2**31 - 1)
  """Examples a step, over all devices."""

  def make(self, run: "Run") -> "Task | Work":
    """What the loop trains, or the work to be done.

    Args:
      run: the experiment, its data, and its finished stages; where those are not finished yet, as
        in a dry run, what they learn is shapes.

    Raises:
      ValueError: fields that do not fit each other or the data.
    """
    raise NotImplementedError


def _adam() -> Optimizer:
  from train.optimizer import Adam

  return Adam()


@dataclasses.dataclass(frozen=True)
class TrainingStage(Stage):
  """What every stage that trains has."""

  steps: int = field(1000, least=1, most=2**31 - 1, may_vary=True)
  """Training steps; a finished run continues when they are raised."""
  accumulate: int = field(1, least=1, may_vary=True)
  """Parts of a batch whose gradients are added up: the same step in less memory."""
  eval_batch_size: int = field(0, least=0, most=2**31 - 1, may_vary=True)
  """Examples evaluated at once, over all devices; 0: batch_size."""
  eval_every: int = field(1000, least=1, may_vary=True)
  """Steps between evaluations on the held-out split; the last step has one, too."""
  checkpoint_every: int = field(1000, least=1, may_vary=True)
  """Steps between checkpoints; evaluations and the last step have one, too."""
  optimizer: Optimizer = dataclasses.field(default_factory=_adam)
  average: float = field(0.0, least=0, most=0.9999999)
  """Decay of a running average of the parameters, which is evaluated and sampled from; 0: none."""
  dtype: Literal["float32", "bfloat16", "float64"] = field("float32")
  """Precision of the computation; codes, statistics and losses stay float32 at least."""
  param_dtype: Literal["float32", "float64"] = field("float32")
  """Precision of the parameters."""


@dataclasses.dataclass(frozen=True)
class Log:
  """What is written while training."""

  every: int = field(50, least=1, may_vary=True)
  """Steps between lines of metrics."""
  pictures_every: int = field(0, least=0, may_vary=True)
  """Steps between reports, pictures and all; 0: only when a stage is finished."""
  keep_checkpoints: int = field(2, least=1, may_vary=True)
  """How many of the latest checkpoints stay, besides the best."""


@dataclasses.dataclass(frozen=True)
class Parallel:
  """Devices and processes."""

  mode: Literal["jit", "pmap"] = field("jit", may_vary=True)
  """How the training step is compiled: jit over a mesh, or pmap."""
  devices: int = field(0, least=0, may_vary=True)
  """Devices to use; 0: all."""
  memory: float = field(0.0, least=0, may_vary=True)
  """GiB of a device, which a stage's state and batch must fit in; 0: what the device tells."""
  distributed: bool = field(False, may_vary=True)
  """Join the other processes of a cluster; every worker runs the same command."""
  coordinator: str = field("", may_vary=True)
  """host:port of process 0, where the cluster does not tell."""
  num_processes: int = field(0, least=0, may_vary=True)
  """Number of processes, where the cluster does not tell."""
  process_id: int = field(-1, least=-1, may_vary=True)
  """This process, where the cluster does not tell."""


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Stages in the order they run, over one source of data."""

  name: Annotated[str, arg(help="What the experiment is called.")] = field("experiment")
  seed: Annotated[int, arg(help="Of all that is drawn.")] = field(0, least=0, most=2**31 - 1)
  data: Source = field(Source())
  stages: dict[str, Stage] = dataclasses.field(default_factory=dict)
  log: Log = field(Log())
  parallel: Parallel = field(Parallel())

  def __post_init__(self):
    taken = {"workdir", "dry_run", *(f.name for f in dataclasses.fields(self))}
    for name in self.stages:
      if not re.fullmatch(r"[A-Za-z]\w*", name) or name in taken:
        raise BadInput(
          f"a stage is called {name!r}; it must be a word of letters, digits and _, and none of "
          f"{', '.join(sorted(taken))}"
        )
