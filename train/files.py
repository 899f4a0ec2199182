"""Files that appear whole or not at all."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from train.errors import BadInput


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A temporary path beside `path`, which takes its place when the block ends well.

  Raises:
    BadInput: the file can't be written there.
  """
  temporary = path.with_name(f".{path.name}.tmp")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    yield temporary
    with open(temporary, "rb") as file:
      os.fsync(file.fileno())
    temporary.replace(path)
  except OSError as error:
    raise BadInput(f"{path} can't be written: {error.strerror or error}") from error
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)


def write_json(path: pathlib.Path, value: Any) -> None:
  text = json.dumps(value, indent=2) + "\n"
  with whole(path) as temporary:
    temporary.write_text(text)
