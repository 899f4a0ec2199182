"""The folder of a run: whose it is, that only one run writes it, and what it says is done.

config.json            the resolved config, each part with its class; which data it reads, and what
                       is known about them
metrics.jsonl          one line an event; train and eval figures by stage and step
events.out.tfevents.*  the same for TensorBoard
STAGE/checkpoints/     Orbax checkpoints, one folder a step
STAGE/*.png, ...       the report of a stage that is finished
STAGE/done.json        written last, when a stage is finished: its steps and figures
"""

import fcntl
import json
import pathlib
import re
from typing import Any, TextIO

from train import config_file
from train.config import Experiment, Source
from train.errors import BadInput
from train.fields import changes
from train.files import write_json


class Workdir:
  """A run's folder. Making one touches nothing; `claim` does."""

  def __init__(self, path: str | pathlib.Path):
    self.path = pathlib.Path(path).expanduser()
    self.config_file = self.path / "config.json"
    self._lock: TextIO | None = None

  def check(self, experiment: Experiment) -> None:
    """Raises BadInput unless the folder is new, empty, or holds this very experiment."""
    for part in (self.path, *self.path.parents):
      if (part.exists() or part.is_symlink()) and not part.is_dir():
        found = "a file" if part.exists() else "a link to nowhere"
        raise BadInput(
          f"--workdir {self.path}: {part} is {found}; it must be a folder or not exist"
        )
    if not self.config_file.exists():
      foreign = [p.name for p in self.path.glob("*") if not p.name.startswith(".")]
      if foreign:
        raise BadInput(
          f"--workdir {self.path} holds no experiment but {', '.join(sorted(foreign)[:3])}; "
          "name a new or an empty folder"
        )
      return
    old = self.config()
    if old.name != experiment.name:
      raise BadInput(
        f"--workdir {self.path} holds the experiment {old.name!r}, not {experiment.name!r}; "
        "name another folder"
      )
    changed = changes(old, experiment)
    if changed:
      raise BadInput(
        f"--workdir {self.path} was begun with another config ({'; '.join(changed)}); "
        "go on with the old values or name another folder"
      )
    self._check_lengths(old, experiment)

  def _check_lengths(self, old: Experiment, new: Experiment) -> None:
    names = list(new.stages)
    for i, name in enumerate(names[:-1]):
      before, after = (getattr(e.stages[name], "steps", 0) for e in (old, new))
      begun = [later for later in names[i + 1 :] if (self.path / later).exists()]
      if before != after and begun:
        raise BadInput(
          f"{name}.steps: {before} -> {after}, but {begun[0]} was begun with {name} as it was in "
          f"{self.path}; name another folder"
        )

  def check_begun(self) -> None:
    """Raises BadInput unless the folder holds an experiment; imports none of its classes."""
    self._saved()

  def config(self) -> Experiment:
    """The experiment whose folder this is, as it was last run.

    Raises:
      BadInput: there is none, or one of its classes or fields is unknown.
    """
    saved = self._saved()
    if "kind" in saved:  # as version 0.1 wrote it
      from train.images import before

      saved = before.converted(saved, str(self.config_file))
    return config_file.restored(saved, str(self.config_file))

  def about(self) -> dict[str, Any] | None:
    """What is known about the data; None where the folder holds no experiment, or an old one."""
    return self._saved().get("about") if self.config_file.exists() else None

  def _saved(self) -> dict[str, Any]:
    return _read(
      self.config_file,
      {"config", "data"},
      f"{self.path} holds no experiment: {self.config_file} is missing",
    )

  def claim(self, experiment: Experiment, data: str, about: dict[str, Any]) -> None:
    """Makes the folder this run's own, until the process ends, unless it is done and read-only.

    Args:
      data: which data the run reads, so that it is never resumed on others.
      about: what is known about them.

    Raises:
      BadInput: another run holds it, or it is not this experiment's.
    """
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      self._lock = open(self.path / ".lock", "w")  # noqa: SIM115 (held until the process ends)
    except OSError as error:
      if all(self.is_done(stage, experiment) for stage in experiment.stages):
        self.check_data(experiment.data, data)
        return  # there is nothing to write
      raise BadInput(f"--workdir {self.path} can't be written: {error.strerror}") from None
    try:
      fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      self.release()
      raise BadInput(f"--workdir {self.path} is in use by another run") from None
    try:
      self.check(experiment)  # again: another run may have come and gone meanwhile
      if self.config_file.exists():
        self.check_data(experiment.data, data)
    except BadInput:
      self.release()
      raise
    write_json(self.config_file, {"data": data, "about": about, **config_file.saved(experiment)})

  def check_data(self, source: Source, data: str) -> None:
    """Raises BadInput unless the run was begun with these data, which their source calls `data`."""
    before = self._saved()["data"]
    if differs := source.differs(before, data):
      advice = "restore the data or name another folder"
      if re.search(r"-[0-9a-f]{16}\b", before):  # of an earlier version: by the files' times
        advice += f', or if the files are the same, set "data" to "{data}" in {self.config_file}'
      raise BadInput(f"{self.path} was begun with other data ({differs}); {advice}")

  def release(self) -> None:
    if self._lock is not None:
      self._lock.close()

  def checkpoints(self, stage: str) -> pathlib.Path:
    return self.path / stage / "checkpoints"

  def done(self, stage: str) -> dict[str, Any] | None:
    """What was written when the stage was finished; None if it was not."""
    path = self.path / stage / "done.json"
    return _read(path, {"steps", "seconds", "figures"}) if path.exists() else None

  def is_done(self, stage: str, experiment: Experiment) -> bool:
    """Whether a stage is finished with as many steps as the experiment asks for."""
    done = self.done(stage)
    return done is not None and done["steps"] >= getattr(experiment.stages[stage], "steps", 0)

  def finish(self, stage: str, **record: Any) -> None:
    """Records that a stage is finished: its steps, seconds, figures, their split and files."""
    write_json(self.path / stage / "done.json", record)


def _read(path: pathlib.Path, keys: set[str], missing: str = "") -> dict[str, Any]:
  """A JSON object with these keys; BadInput where the file is missing or holds something else."""
  try:
    value = json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    raise BadInput(missing or f"{path} is missing") from None
  except (OSError, ValueError) as error:
    raise BadInput(f"{path} is damaged: {error}") from None
  if not isinstance(value, dict) or not keys <= value.keys():
    raise BadInput(f"{path} is damaged: it must hold {', '.join(sorted(keys))}")
  return value
