"""Telling whether the files a prepared dataset was made from are still the same."""

import hashlib
import os
import pathlib
import re
from collections.abc import Iterable

from train.errors import BadInput


def fingerprint(
  root: pathlib.Path, files: Iterable[pathlib.Path], *, options: tuple[object, ...] = ()
) -> str:
  """A folder name for `files` under `root` as they are now: root's name and 16 hex digits.

  The digits change with any file's relative name, size or time of change, and with `options`
  (whatever else decides what is stored). Contents are not read.

  Raises:
    BadInput: a file can't be read; names it.
  """
  digest = hashlib.sha256(repr(options).encode())
  for file in files:
    try:
      stat = file.stat()
    except OSError as error:  # such as a link to nowhere
      raise BadInput(f"{file}: can't be read ({error.strerror}); remove or replace it") from error
    relative = file.relative_to(root).as_posix()
    digest.update(os.fsencode(f"{relative}\0{stat.st_size}\0{stat.st_mtime_ns}\n"))
  readable = re.sub(r"[^A-Za-z0-9]+", "_", root.resolve().name).strip("_") or "root"
  return f"{readable[:40]}-{digest.hexdigest()[:16]}"
