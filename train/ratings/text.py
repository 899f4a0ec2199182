"""Files of text, packed or not."""

import contextlib
import gzip
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from train.errors import BadInput


@contextlib.contextmanager
def text_of(path: pathlib.Path) -> Iterator[TextIO]:
  """A file of text, unpacked where it is .gz; its errors while it is read as BadInput."""
  try:
    with _opener(path)(path, "rt", encoding="utf-8-sig", newline="") as file:
      yield file
  except UnicodeDecodeError:
    raise BadInput(f"{path}: line {_no_text(path)}: not UTF-8; convert it to UTF-8") from None
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise BadInput(f"{path}: damaged ({error}); copy it anew") from None
  except OSError as error:
    raise BadInput(f"{path}: can't be read ({error.strerror or error})") from None


def _opener(path: pathlib.Path) -> Callable[..., Any]:
  return gzip.open if path.suffix.lower() == ".gz" else open


def ending_of(path: pathlib.Path) -> str:
  """A file's ending in lower case, such as .csv; of x.csv.gz it is .csv as well."""
  name = path.name.lower().removesuffix(".gz")
  return pathlib.PurePath(name).suffix


def _no_text(path: pathlib.Path) -> int:
  """The first line that is not UTF-8: text is decoded in blocks of many lines."""
  with _opener(path)(path, "rb") as file:
    return next(i for i, line in enumerate(file, 1) if not _is_text(line))


def _is_text(line: bytes) -> bool:
  try:
    line.decode()
  except UnicodeDecodeError:
    return False
  return True
