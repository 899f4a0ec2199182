"""The one training loop.

The order of operations, for every step k, is fixed:

  1. stop here if the run was asked to: save, and leave
  2. batch k (a pure function of the seed and k) goes to the devices
  3. the step, which gives the old state's memory away
  4. at log steps: metrics of the steps since the last are fetched, one interval late so that the
     device never waits; a loss that is not finite ends the run
  5. at evaluation steps: what a task does to its state before (`Settle`), then the held-out split
  6. at checkpoint steps: all metrics so far are checked and flushed, then the state is saved; a
     checkpoint is therefore never ahead of metrics.jsonl and never holds a state after a NaN

Metrics of step k are of step k alone, so they do not depend on how often they are written.
"""

import contextlib
import math
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from train.checkpoint import Checkpoints
from train.config import Log, TrainingStage
from train.data import Examples, eval_batches, train_batches
from train.errors import Failed, Preempted
from train.learn import State, parameter_count
from train.parallel import Program
from train.report import Bar, Metrics, NoMetrics, console, write_report
from train.task import Splits, Task

_AHEAD = 8  # steps under way besides the newest: what keeps a device busy


class StopRequest:
  """SIGTERM, agreed upon by all processes at one step."""

  def __init__(self) -> None:
    self._asked, self._calls = False, 0
    if jax.process_count() == 1:
      signal.signal(signal.SIGTERM, self._ask)

  def _ask(self, *_: Any) -> None:
    self._asked = True

  def __call__(self) -> bool:
    self._calls += 1
    if jax.process_count() > 1:  # JAX's own handler tells the coordinator
      # Counted over all stages: JAX compares it with the largest count that any process reported.
      return multihost_utils.reached_preemption_sync_point(self._calls)
    return self._asked


def train(
  name: str,
  stage: TrainingStage,
  task: Task,
  program: Program,
  examples: Splits,
  checkpoints: Checkpoints,
  folder: pathlib.Path,
  *,
  log: Log,
  key: jax.Array,
  seed: int,
  stop: Callable[[], bool],
) -> float:
  """Trains a stage from its latest checkpoint, or from the start, to its last step.

  Args:
    folder: of the run.
    key: of the initial state and of what steps draw.
    seed: of the order of the examples.
    stop: asked before every step.

  Returns:
    The seconds spent on the stage, those before it was resumed included.

  Raises:
    Preempted: `stop` said so; the state is saved.
    Failed: the loss, the gradient, a held-out figure or the state is not finite.
  """
  context, key = program.put(task.context), program.put(key)
  restored = checkpoints.latest(program.abstract_state)
  if restored:
    start, state = restored
  else:
    given = [program.put(task.start())] if task.start else []
    start, state = 0, program.init(key, context, *given)
  first = jax.process_index() == 0
  metrics = Metrics(folder, name, start) if first else NoMetrics()
  if first:
    size = parameter_count(program.abstract_state.params)
    origin = f"resumed after step {start}" if start else "from the start"
    console.print(f"{name}: {size:,} parameters, {stage.steps} steps, {origin}")
  bar = Bar(name, start, stage.steps, quiet=not first)
  window = _Window(metrics, bar, checkpoints)
  batches = train_batches(
    examples["train"], seed, start, stage.steps, stage.batch_size, process=_process()
  )

  def settled(step: int) -> State:
    if program.settle is None:
      return state
    learned, sums = program.learned(state, context), None
    coming = (step, step + program.settle.batches, stage.batch_size, _process())
    for i, batch in enumerate(train_batches(examples["train"], seed, *coming)):
      with jax.transfer_guard("allow"):  # of a number
        own = jax.random.fold_in(key, step + i)
      found = program.settle.measure(learned, context, program.put_batch(batch), own)
      sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
    return program.settle.put(state, sums)

  def held_out_figures(step: int) -> dict[str, float]:
    window.drain()  # lines stand in the order of steps, however the run was interrupted
    learned = program.learned(state, context)
    batch_size = stage.eval_batch_size or stage.batch_size
    figures = evaluate(task, program, learned, context, examples["eval"], batch_size)
    for figure, value in figures.items():
      if math.isnan(value):
        window.fail(f"held-out {figure} is nan at step {step}")
    metrics.write(step, "eval", figures)
    return figures

  def save(step: int, figures: dict[str, float] | None) -> None:
    window.drain()
    if not bool(jax.device_get(all_finite(state))):
      window.fail(f"the state is not finite at step {step}, though its loss was")
    metrics.flush()
    checkpoints.save(step, state, figures)

  def report(step: int) -> None:
    window.drain()
    learned = jax.device_get(program.learned(state, context))
    with jax.transfer_guard("allow"):  # it works on this process' first device
      figures, files = task.report(learned, examples)
    if figures:
      metrics.write(step, "report", figures)
    write_report(folder / name, files)
    metrics.pictures(step, files)

  with contextlib.ExitStack() as stack:
    for close in (checkpoints.wait, bar.close, metrics.close):
      stack.callback(close)
    if hasattr(batches, "close"):
      stack.callback(batches.close)
    stack.enter_context(jax.transfer_guard("disallow"))
    if start >= stage.steps and checkpoints.figures(start) is None:
      state = settled(start)
      save(start, held_out_figures(start))  # the length was cut to a step not evaluated before
    for step in range(start + 1, stage.steps + 1):
      if stop():
        save(step - 1, None)
        raise Preempted(f"{name} stopped after step {step - 1}")
      asked = time.monotonic()
      batch = next(batches)
      window.waited(time.monotonic() - asked)
      batch = program.put_batch(batch)
      state, figures = program.step(state, context, batch, key)
      last = step == stage.steps
      window.add(step, figures)
      if step % log.every == 0 or last:
        window.log(step)
      held_out = None
      if step % stage.eval_every == 0 or last:
        state = settled(step)
        held_out = held_out_figures(step)
      if log.pictures_every and step % log.pictures_every == 0 and first:
        report(step)
      if held_out or step % stage.checkpoint_every == 0:
        save(step, held_out)
    return metrics.seconds()


@jax.jit
def all_finite(tree: Any) -> jax.Array:
  """Whether every floating-point leaf is free of NaN and infinity."""
  leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
  return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))


class _Window:
  """Metrics still on the device; written one interval late."""

  def __init__(self, metrics: Metrics | NoMetrics, bar: Bar, checkpoints: Checkpoints):
    self._metrics, self._bar, self._checkpoints = metrics, bar, checkpoints
    self._steps: list[tuple[int, dict[str, jax.Array]]] = []
    self._due: dict[int, float] = {}  # steps to be written, and how much of their time was waiting
    self._since, self._waited = time.monotonic(), 0.0

  def add(self, step: int, figures: dict[str, jax.Array]) -> None:
    self._steps.append((step, figures))
    # Each step under way holds a batch. (And where many are, XLA's virtual CPU devices may end up
    # waiting for each other.)
    if len(self._steps) > _AHEAD:
      jax.block_until_ready(self._steps[-1 - _AHEAD][1])

  def waited(self, seconds: float) -> None:
    """For a batch: what counts is when no step was left under way, so that devices waited, too."""
    newest = self._steps[-1][1] if self._steps else {}
    if all(figure.is_ready() for figure in newest.values()):
      self._waited += seconds

  def log(self, step: int) -> None:
    """Metrics of `step` are to be written; those that were due before it are."""
    self._fetch(max(self._due, default=0))
    now = time.monotonic()
    self._due[step] = self._waited / max(now - self._since, 1e-9)
    self._since, self._waited = now, 0.0

  def fail(self, found: str) -> NoReturn:
    """Ends the run, saying what is left of it."""
    self._metrics.flush()
    kept = self._checkpoints.newest_step()
    left = f"the checkpoint of step {kept} stands" if kept else "there is no checkpoint yet"
    raise Failed(f"{found}; {left}")

  def drain(self) -> None:
    """Everything up to now, waiting for it."""
    self._fetch(self._steps[-1][0] if self._steps else 0)

  def _fetch(self, until: int) -> None:
    ready = [(step, figures) for step, figures in self._steps if step <= until]
    self._steps = self._steps[len(ready) :]
    for step, figures in zip(
      [s for s, _ in ready], jax.device_get([f for _, f in ready]), strict=True
    ):
      values = {name: float(value) for name, value in figures.items()}
      bad = [k for k in ("loss", "grad_norm") if not math.isfinite(values.get(k, 0.0))]
      if bad:
        self.fail(f"{bad[0]} is {values[bad[0]]} at step {step}; it was finite before")
      if step in self._due:
        self._metrics.write(step, "train", values | {"data_wait": round(self._due.pop(step), 4)})
        self._bar.update(step, {k: v for k, v in values.items() if k != "grad_norm"})


def evaluate(
  task: Task, program: Program, learned: Any, context: Any, examples: Examples, batch_size: int
) -> dict[str, float]:
  """The task's figures on a whole split; batches' sums are added up in float64."""
  totals = waiting = None
  for batch in eval_batches(examples, batch_size, _process()):
    sums = program.evaluate(learned, context, program.put_batch(batch))
    totals, waiting = _add(totals, waiting), sums  # one late: the device goes on meanwhile
  with jax.transfer_guard("allow"):  # what is left is arithmetic on a few numbers
    sums = _add(totals, waiting)
    dtype = jax.dtypes.canonicalize_dtype(np.float64)
    return task.figures(jax.tree.map(lambda x: np.asarray(x, dtype), sums))


def _process() -> tuple[int, int]:
  return jax.process_index(), jax.process_count()


def _add(totals: Any, sums: Any) -> Any:
  if sums is None:
    return totals
  sums = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(sums))
  return sums if totals is None else jax.tree.map(np.add, totals, sums)
