"""What a stage is to the loop: pure functions over pytrees, made by a file in train/tasks/."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

State = Any  # a NamedTuple with a field `step`
Context = Any  # what earlier stages learned, read but never changed
# image u8[B, H, W, C] or codes (i32[B, h, w], ...), label i32[B], index i32[B], mask bool[B], and
# group i32[B] where examples come in groups
Batch = dict[str, Any]
Splits = tuple[Any, Any]  # training and held-out, of images or of codes


class Task(NamedTuple):
  """One stage's functions. Batches are global under jit, a device's share under pmap."""

  model: nn.Module
  # (key) -> state
  init: Callable[[jax.Array], State]
  # (state, context, batch, key, *, axis_name=None) -> (gradient of the params, anything else)
  gradients: Callable[..., tuple[Any, Any]]
  # (state, context, batch, key, *, axis_name=None) -> (state, metrics); metrics are scalars, among
  # them `loss` and `grad_norm`. `key` is the stage's; what is drawn is keyed by step and example.
  step: Callable[..., tuple[State, dict[str, jax.Array]]]
  # (state, context, batch with mask) -> sums, which add up over batches
  evaluate: Callable[[State, Context, Batch], Any]
  # (sums) -> figures; `select` names the one by which the best checkpoint is chosen, least first
  figures: Callable[[Any], dict[str, float]]
  select: str
  # (state, context, split) -> pictures u8[H, W, 3] by file name
  pictures: Callable[[State, Context, Any], dict[str, np.ndarray]]
  # (state, context, training split, held-out split) -> figures too dear for every evaluation
  judged: Callable[[State, Context, Any, Any], dict[str, float]]
  # what earlier stages learned, as arrays
  context: Context
  # leaf path (a regular expression) -> the fields, of the stage or by path, that decide its shape
  decided_by: Mapping[str, Sequence[str]]
  # one example's shapes and types by its names in a batch, but for the index
  example: dict[str, Any]
  # the stage whose codes are the examples; None: they are images
  reads: str | None = None
  # (splits) -> how the task sees them, in groups, say
  view: Callable[[Splits], Splits] = lambda splits: splits


class Work(NamedTuple):
  """A stage that does not train but makes the examples of those after it."""

  # (folder, splits, stop): does what is left to be done; may raise Preempted
  run: Callable[[pathlib.Path, Splits, Callable[[], bool]], None]
  # (folder) -> what `run` made, training and held-out
  open: Callable[[pathlib.Path], Splits]
  # (what `run` made) -> figures
  figures: Callable[[Splits], dict[str, float]]


class Finished(NamedTuple):
  """A stage that is done: its model, its best state on the host, and its figures."""

  model: nn.Module | None
  state: State
  figures: dict[str, float]
  task: Task | Work
  splits: Splits | None = None  # the examples that a `Work` made
