"""Which files data are: told by names and contents, wherever they lie and whenever they came there.

Every file is read once. What one of this size and time of change holds is remembered, for each
folder of data in a file of `.hashes` among the prepared datasets, so that to look again costs a
stat a file. A prepared dataset keeps the names and digests of what it was made from: a run that
finds other data can say which files differ, and its own record stays one name, for any number of
files. All of this is JSON, and may be deleted.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.pool import ThreadPool
from typing import Any

from train.errors import BadInput
from train.files import write_json

_KEPT = "files.json"
_THREADS = 8  # file systems in a network answer many at once; hashes leave the interpreter free
_EVERY = 60.0  # seconds after which a long look remembers what it has found so far


class Remembered:
  """What a look at each of some files found; only files that have changed are looked at again."""

  def __init__(
    self,
    root: pathlib.Path,
    files: Iterable[pathlib.Path],
    look: Callable[[pathlib.Path], Any],
    memory: pathlib.Path | None = None,
    *,
    show: Callable[[Iterator], Iterator] = iter,
    lasting: Callable[[Any], bool] = lambda found: True,
  ):
    """Looks at the files that are not remembered, several at once.

    A look that is interrupted has remembered all but the last minute.

    Args:
      root: what the files' names are relative to.
      look: what is to be known of a file, in JSON's types.
      memory: folder where it is remembered, a file for each root; None: look at all.
      show: of the work, to a person.
      lasting: whether what was found is to be remembered; the file is looked at again otherwise.

    Raises:
      BadInput: a file is not there; names it.
    """
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    self._memory, self._lasting = memory and memory / f"{name}.json", lasting
    self._known = _read(self._memory) if memory else {}  # "SIZE TIME NAME" -> what was found

    def one(file: pathlib.Path) -> tuple[str, Any]:
      try:
        stat = file.stat()
        key = f"{stat.st_size} {stat.st_mtime_ns} {file.relative_to(root).as_posix()}"
        return key, self._known[key] if key in self._known else look(file)
      except OSError as error:  # such as a link to nowhere
        raise BadInput(f"{file}: can't be read ({error.strerror}); remove or replace it") from error

    self._now, remembered = {}, time.monotonic()
    with ThreadPool(_THREADS) as threads:
      for key, value in show(threads.imap(one, files, 8)):
        self._now[key] = value
        if time.monotonic() > remembered + _EVERY:
          self.remember()
          remembered = time.monotonic()
    self.found = {_name(key): value for key, value in self._now.items()}

  def remember(self) -> None:
    """For the next look, of these files or of others under the root."""
    if not self._memory:
      return
    named = set(map(_name, self._now))
    kept = {k: v for k, v in self._known.items() if _name(k) not in named}
    kept |= {k: v for k, v in self._now.items() if self._lasting(v)}
    if kept != self._known:
      with contextlib.suppress(BadInput):  # where nothing can be written, it takes longer again
        write_json(self._memory, kept)


class Contents(Remembered):
  """Files by their names under a root, and the digests of what is in them, as they are now."""

  def __init__(
    self, root: pathlib.Path, files: Iterable[pathlib.Path], datasets: pathlib.Path | None = None
  ):
    """Reads the files that are not remembered.

    Args:
      datasets: folder of the prepared datasets, where contents are remembered; None: read all.

    Raises:
      BadInput: a file can't be read; names it.
    """
    super().__init__(root, files, _hashed, datasets and datasets / ".hashes")
    self.digests = self.found

  def name(self, options: tuple[object, ...] = ()) -> str:
    """16 hex digits that change with any name, any content, and `options`.

    Those are whatever else decides what is stored.
    """
    return name_of(self.digests, options)

  def remember_with(self, dataset: pathlib.Path) -> None:
    """For the next look; and with the dataset made from these files, for `difference`."""
    with contextlib.suppress(BadInput):
      if not (dataset / _KEPT).exists():
        write_json(dataset / _KEPT, self.digests)
    self.remember()


def name_of(files: Mapping[str, object], options: tuple[object, ...] = ()) -> str:
  """16 hex digits that change with any file's name, what is known of it, and `options`."""
  digest = hashlib.sha256(repr(options).encode())
  for name, known in files.items():
    digest.update(os.fsencode(f"{name}\0{known}\n"))
  return digest.hexdigest()[:16]


def fingerprint(
  root: pathlib.Path, files: Iterable[pathlib.Path], *, options: tuple[object, ...] = ()
) -> str:
  """The name of `files` under `root` as they are now, read anew: for a source of few files."""
  return Contents(root, files).name(options)


def difference(before: pathlib.Path, now: pathlib.Path) -> str:
  """Which files two prepared datasets were not both made from; empty where that is not known."""
  old, new = (_read(dataset / _KEPT) for dataset in (before, now))
  if not old or not new:
    return ""
  kinds = {
    "added": new.keys() - old.keys(),
    "gone": old.keys() - new.keys(),
    "changed": {name for name in old.keys() & new.keys() if old[name] != new[name]},
  }
  some = lambda names: ", ".join(sorted(names)[:3]) + ", ..." * (len(names) > 3)
  said = (f"{len(names):,} {kind} ({some(names)})" for kind, names in kinds.items() if names)
  return ", ".join(said).encode(errors="backslashreplace").decode()  # names need not be UTF-8


def _name(key: str) -> str:
  return key.split(" ", 2)[-1]


def _hashed(file: pathlib.Path) -> str:
  with file.open("rb") as opened:
    return hashlib.file_digest(opened, "sha256").hexdigest()[:32]


def _read(path: pathlib.Path) -> dict[str, str]:
  """What `write_json` wrote; nothing where it is missing or damaged."""
  try:
    value = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return value if isinstance(value, dict) else {}
