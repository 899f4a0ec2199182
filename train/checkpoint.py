"""Checkpoints, by Orbax: written beside the training, whole or not at all.

A state is stored as a flat dict of its leaves by path. A checkpoint counts once Orbax has committed
it; one that can't be read all the same is set aside, with a warning, for the one before it.
"""

import json
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from train.errors import BadInput, Failed
from train.learn import State


def leaves_by_path(tree: Any) -> dict[str, Any]:
  """The leaves of a pytree by dotted path, such as 'params.down_0.kernel'."""
  flat, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in flat}


class Checkpoints:
  """The checkpoints of one stage: the latest `keep`, and the best by a held-out figure."""

  def __init__(
    self, folder: pathlib.Path, *, best: str = "-", keep: int = 1, read_only: bool = False
  ):
    """`best`: as `Task.best` says, -figure where the least is best, +figure where the most is; of
    checkpoints that are saved without figures nothing."""
    self._folder, self._select, self._least = folder, best[1:], best[0] == "-"
    best_of = policies.BestN(
      get_metric_fn=lambda figures: figures[self._select],
      reverse=self._least,  # the policy keeps what sorts last
      n=1,
      keep_checkpoints_without_metrics=False,
    )
    options = ocp.CheckpointManagerOptions(
      create=not read_only,
      read_only=read_only,
      cleanup_tmp_directories=not read_only,
      best_fn=lambda figures: figures[self._select],  # without one, Orbax stores no figures
      best_mode="min" if self._least else "max",
      preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best_of]),
    )
    _check_figures(folder, read_only)
    self._manager = ocp.CheckpointManager(
      folder.resolve(), options=options, item_handlers=ocp.StandardCheckpointHandler()
    )

  def save(self, step: int, state: State, figures: Mapping[str, float] | None) -> None:
    """Begins to write; the state may be donated as soon as this returns."""
    if step in self._manager.all_steps():
      if figures is None or self.figures(step) is not None:
        return
      self._manager.delete(step)  # saved before it was evaluated: it gets its figures now
    self._manager.save(
      step,
      args=ocp.args.StandardSave(leaves_by_path(state)),
      metrics=None if figures is None else dict(figures),
      force=True,
    )

  def latest(self, abstract: State) -> tuple[int, State] | None:
    """The newest checkpoint that can be read, with its step; None where there is none.

    Raises:
      BadInput: a checkpoint holds another state than `abstract`.
      Failed: there are checkpoints, and none can be read.
    """
    broken: list[int] = []
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        state = self.restore(step, abstract)
      except BadInput:
        raise
      except Exception as error:  # Orbax and TensorStore raise what they please
        _warn(self._folder / str(step), error)
        broken.append(step)
        continue
      if broken:  # only now: where none can be read, the fault may lie elsewhere
        for other in broken if jax.process_index() == 0 else ():
          _set_aside(self._folder / str(other))
        multihost_utils.sync_global_devices("checkpoints set aside")
        self._manager.reload()
      return step, state
    if broken:
      raise Failed(f"no checkpoint in {self._folder} can be read; they are left as they are")
    return None

  def newest_step(self) -> int | None:
    """The step of the newest checkpoint, once it is written."""
    self._manager.wait_until_finished()
    return self._manager.latest_step()

  def best(self) -> int | None:
    """The step of the best checkpoint by the held-out figure; None where none was evaluated."""
    figures = {step: f for step in self._manager.all_steps() if (f := self.figures(step))}
    for step, found in figures.items():
      if self._select not in found:
        raise BadInput(
          f"checkpoint {self._folder / str(step)} is of another stage: its figures are "
          f"{', '.join(found)}; they must hold {self._select}"
        )
    sign = 1 if self._least else -1
    scores = {step: sign * found[self._select] for step, found in figures.items()}
    return min(scores, key=lambda step: (scores[step], step)) if scores else None

  def figures(self, step: int) -> dict[str, float] | None:
    """The held-out figures saved with a checkpoint."""
    return self._manager.metrics(step)

  def restore(self, step: int, abstract: State) -> State:
    """The state saved at a step, in the shapes, dtypes and shardings of `abstract`."""
    metadata = self._manager.item_metadata(step)
    saved = dict(getattr(metadata, "tree", metadata) or {})
    if not saved:
      raise OSError("its metadata is missing")
    wanted = leaves_by_path(abstract)
    if any(path.startswith("codebooks.") for path in saved):  # as version 0.1 called the rest
      wanted = {path.replace("rest.", "codebooks.", 1): leaf for path, leaf in wanted.items()}
    self._check(step, saved, wanted)
    found = self._manager.restore(step, args=ocp.args.StandardRestore(wanted))
    return jax.tree.unflatten(jax.tree.structure(abstract), [found[path] for path in wanted])

  def wait(self) -> None:
    """Until all is written; raises what went wrong in the background."""
    self._manager.wait_until_finished()
    self._manager.check_for_errors()

  def close(self) -> None:
    self._manager.close()

  def _check(self, step: int, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises BadInput that names the leaves in which a checkpoint differs."""
    missing, unexpected = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    shapes = [
      f"{path} is {tuple(found[path].shape)}, not {tuple(wanted[path].shape)}"
      for path in wanted
      if path in found and tuple(found[path].shape) != tuple(wanted[path].shape)
    ]
    problems = [f"missing {path}" for path in sorted(missing)]
    problems += [f"unexpected {path}" for path in sorted(unexpected)] + shapes
    if problems:
      shown = "; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if problems[4:] else "")
      raise BadInput(f"checkpoint {self._folder / str(step)} is of another model: {shown}")


def _check_figures(folder: pathlib.Path, read_only: bool) -> None:
  """Sets aside the checkpoints whose figures are damaged: Orbax would not get past them."""
  for path in sorted(folder.glob("[0-9]*/metrics/metrics")):
    try:
      json.loads(path.read_text())
    except (OSError, ValueError) as error:
      if read_only:
        raise Failed(f"{path} is damaged: {error}") from None
      _warn(path.parent.parent, error)
      if jax.process_index() == 0:
        _set_aside(path.parent.parent)


def _warn(checkpoint: pathlib.Path, error: Exception) -> None:
  reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
  warnings.warn(f"checkpoint {checkpoint} can't be read: {reason}", stacklevel=3)


def _set_aside(checkpoint: pathlib.Path) -> None:
  target, n = checkpoint.with_name(f"unreadable-{checkpoint.name}"), 1
  while target.exists():
    target, n = checkpoint.with_name(f"unreadable-{checkpoint.name}-{n}"), n + 1
  checkpoint.rename(target)


def to_host(state: State) -> State:
  """A state as NumPy arrays."""
  return jax.tree.map(np.asarray, jax.device_get(state))
