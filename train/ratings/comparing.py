"""Finished runs compared user by user: means, and differences with intervals by the bootstrap."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.text import Text

from train import fields
from train.config import Experiment
from train.errors import BadInput
from train.ratings.checks import CHECKS, ChecksStage
from train.ratings.factors import FactorStage
from train.ratings.verbs import Compare
from train.report import console, read_npz
from train.tables import table
from train.workdir import Workdir
from vqlab import metrics

_RESAMPLES = 2000


class Found(NamedTuple):
  """What a run's folder says of its users."""

  name: str  # as it was given
  arm: str
  config: Experiment
  target: Any  # what is known of the shop
  figures: dict[str, np.ndarray]  # f[M] by name, and `user`


class Line(NamedTuple):
  """An arm's figures: of each its mean, and how far it is from the first arm's, if it is none."""

  arm: str
  seeds: int
  values: list[tuple[float, metrics.Difference | None]]


def compare(verb: Compare) -> None:
  """Prints the comparison as a table, of text or of Markdown."""
  lines = compared([read(name) for name in dict.fromkeys(verb.runs)], verb.figures)
  columns = ["arm", "seeds", "figure", "mean"]
  if len(lines) > 1:
    columns += ["difference", "95 % interval"]
  rows = []
  for line in lines:
    head = [line.arm, str(line.seeds)]
    for figure, (mean, difference) in zip(verb.figures, line.values, strict=True):
      row = [*head, figure, f"{mean:.4f}", *_said(difference)]
      rows.append(row[: len(columns)])
      head = ["", ""]
  if verb.markdown:
    for row in (columns, ["---"] * len(columns), *rows):
      console.print(f"| {' | '.join(row)} |", markup=False)
    return
  of = f"; differences to {lines[0].arm}" if len(lines) > 1 else ""
  found = table(f"means over users and seeds{of}", *columns)
  for row in rows:
    found.add_row(*map(Text, row))
  console.print(found)


def read(name: str) -> Found:
  """A run's figures by its folder, DIR, or those of one of its checks, DIR:popularity.

  Raises:
    BadInput: the folder holds no run, or none with such figures that is finished.
  """
  folder, colon, check = name.rpartition(":")
  if not colon or pathlib.Path(name).exists():
    folder, check = name, ""
  if check and check not in CHECKS:
    raise BadInput(f"{name}: {check!r} must be one of {', '.join(CHECKS)}")
  workdir, kind = Workdir(folder), ChecksStage if check else FactorStage
  config = workdir.config()
  stages = [stage for stage, of in config.stages.items() if isinstance(of, kind)]
  if not stages:
    raise BadInput(
      f"{folder}: the experiment {config.name!r} has no stage of the kind {kind.__name__}"
    )
  done = [stage for stage in stages if workdir.done(stage)]
  if not done:
    raise BadInput(f"{folder}: the stage {stages[0]!r} is not finished; run fit again to go on")
  figures = read_npz(workdir.path / done[-1] / f"{check or 'users'}.npz")
  return Found(name, check or config.name, config, workdir.about()["target"], figures)


def compared(runs: list[Found], figures: tuple[str, ...]) -> list[Line]:
  """A line an arm, the arms in the order of their first runs.

  Users are drawn anew for both arms at once, and so are seeds where both arms are of the same ones;
  otherwise the seeds of each for themselves (`metrics.paired_difference`).

  Raises:
    BadInput: users differ, a figure is missing, or an arm's runs differ in more than seeds.
  """
  arms: dict[str, dict[int, Found]] = {}
  for run in runs:
    _check(run, runs[0], figures)
    arm = arms.setdefault(run.arm, {})
    _check_arm(run, list(arm.values()))
    arm[run.config.seed] = run
  lines, first = [], next(iter(arms.values()))
  between = jax.jit(
    functools.partial(metrics.paired_difference, num_resamples=_RESAMPLES),
    static_argnames="same_seeds",
  )
  for name, arm in arms.items():
    # The same seeds in the same places, where they are the same.
    rows = lambda runs, figure: jnp.asarray(
      np.stack([runs[seed].figures[figure] for seed in sorted(runs)])
    )
    values = []
    for figure in figures:
      ours, difference = rows(arm, figure), None
      if arm is not first:
        difference = between(
          ours, rows(first, figure), key=jax.random.key(0), same_seeds=arm.keys() == first.keys()
        )
      values.append((float(jnp.mean(ours)), difference))
    lines.append(Line(name, len(arm), values))
  return lines


def _check(run: Found, first: Found, figures: tuple[str, ...]) -> None:
  for figure in figures:
    if figure not in run.figures or figure == "user":
      known = [name for name in run.figures if name != "user"]
      near = fields.nearest(figure, known)
      raise BadInput(f"{run.name} has no figure {figure!r}; it has {', '.join(known)}{near}")
  if run.target != first.target or not np.array_equal(run.figures["user"], first.figures["user"]):
    raise BadInput(
      f"{run.name} and {first.name} are of other users or items ({_sizes(run)}, {_sizes(first)}); "
      "compare runs of one shop, split alike"
    )


def _sizes(run: Found) -> str:
  users, items = len(run.figures["user"]), run.target["items"]
  return f"{users:,} users who are judged and {items:,} items"


def _check_arm(run: Found, before: list[Found]) -> None:
  for other in before:
    if changed := [x for x in fields.changes(other.config, run.config) if x[:5] != "seed:"]:
      raise BadInput(
        f"{other.name} and {run.name} are both called {run.arm!r} but differ in more than the seed "
        f"({'; '.join(changed)}); compare them one by one with a third, or give one another --name "
        "when it is fitted"
      )
    if other.config.seed == run.config.seed:
      raise BadInput(f"{other.name} and {run.name} are both of {run.arm!r}, seed {run.config.seed}")


def _said(difference: metrics.Difference | None) -> list[str]:
  if difference is None:
    return ["", ""]
  return [f"{difference.mean:+.4f}", f"[{difference.low:+.4f}, {difference.high:+.4f}]"]
