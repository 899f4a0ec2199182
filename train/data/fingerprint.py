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
from collections.abc import Iterable
from multiprocessing.pool import ThreadPool

from train.errors import BadInput
from train.files import write_json

_KEPT = "files.json"
_THREADS = 8  # file systems in a network answer many at once; hashes leave the interpreter free


class Contents:
  """Files by their names under a root, and what is in them, as they are now."""

  def __init__(
    self, root: pathlib.Path, files: Iterable[pathlib.Path], memory: pathlib.Path | None = None
  ):
    """Reads the files that are not remembered.

    Args:
      memory: folder of the prepared datasets, where contents are remembered; None: read them all.

    Raises:
      BadInput: a file can't be read; names it.
    """
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    self._memory = memory and memory / ".hashes" / f"{name}.json"
    self._known = _read(self._memory) if memory else {}  # "SIZE TIME NAME" -> digest

    def look(file: pathlib.Path) -> tuple[str, str]:
      try:
        stat = file.stat()
        key = f"{stat.st_size} {stat.st_mtime_ns} {file.relative_to(root).as_posix()}"
        return key, self._known.get(key) or _hashed(file)
      except OSError as error:  # such as a link to nowhere
        raise BadInput(f"{file}: can't be read ({error.strerror}); remove or replace it") from error

    with ThreadPool(_THREADS) as threads:
      self._now = dict(threads.imap(look, files, 64))
    self.digests = {key.split(" ", 2)[2]: digest for key, digest in self._now.items()}

  def name(self, options: tuple[object, ...] = ()) -> str:
    """16 hex digits that change with any name, any content, and `options`.

    Those are whatever else decides what is stored.
    """
    digest = hashlib.sha256(repr(options).encode())
    for name, content in self.digests.items():
      digest.update(os.fsencode(f"{name}\0{content}\n"))
    return digest.hexdigest()[:16]

  def remember(self, dataset: pathlib.Path) -> None:
    """For the next look; and with the dataset made from these files, for `difference`."""
    with contextlib.suppress(BadInput):  # where nothing can be written, it takes longer again
      if not (dataset / _KEPT).exists():
        write_json(dataset / _KEPT, self.digests)
      if self._memory and self._now != self._known:
        write_json(self._memory, self._now)


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
