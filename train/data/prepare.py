"""Preparing datasets: written once as ArrayRecord, then found again by name and content."""

import contextlib
import errno
import filecmp
import io
import logging
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from train.data.folders import data_dir
from train.errors import BadInput

_WHOLE = "dataset_info.json"  # TFDS writes it last
_FULL = [os.strerror(n) for n in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]


def prepare(builder: type, config: Any, folder: str) -> pathlib.Path:
  """Makes sure a builder's dataset is there; returns its folder, <dir>/<name>[/<config>]/<version>.

  Does nothing where it was prepared before from the same files. A dataset appears under its name
  by a single rename once it is whole: however a preparation ends, no part of it is ever read, and
  of several at once the first one wins. (One that was killed leaves a hidden folder .preparing-*
  in the datasets' folder, which can be deleted.) With several processes let one of them prepare
  first, so that the others find its work, where they share the folder, instead of repeating it.

  Args:
    config: the builder's, named by the files as they are now, or None.
    folder: where datasets are kept, see `data_dir`.

  Raises:
    BadInput: what the dataset is made from can't be used, or the disk is full.
  """
  root = data_dir(folder)
  parts = (builder.name, *([config.name] if config else []), str(builder.VERSION))
  final = root.joinpath(*parts)
  if (final / _WHOLE).is_file():
    return final
  try:
    root.mkdir(parents=True, exist_ok=True)
    # Next to the datasets, on the same disk.
    beside = tempfile.TemporaryDirectory(prefix=".preparing-", dir=root, ignore_cleanup_errors=True)
  except OSError as error:
    raise BadInput(
      f"data.dir: can't write to {root} ({error.strerror}); set it to a folder you can write to"
    ) from error
  with beside as scratch, _quiet():
    making = builder(data_dir=scratch, config=config, file_format="array_record")
    try:
      making.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
      )
    except (OSError, RuntimeError) as error:  # the latter is ArrayRecord's
      full = [reason for reason in _FULL if reason in str(error)]
      if not full:
        raise
      raise BadInput(
        f"data.dir: can't write to {root} ({full[0]}); make room, or set it to another folder"
      ) from None
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
      pathlib.Path(scratch, *parts).rename(final)
    except OSError as error:
      if not (final / _WHOLE).is_file():  # else another one was first
        raise BadInput(f"{final} is in the way ({error.strerror}); delete it") from error
  return final


def hold_the_same(a: pathlib.Path, b: pathlib.Path) -> bool:
  """Whether two prepared datasets are there and have the same records, byte for byte."""
  names = [sorted(path.name for path in folder.glob("*.array_record*")) for folder in (a, b)]
  if not names[0] or names[0] != names[1]:
    return False
  return filecmp.cmpfiles(a, b, names[0], shallow=False)[0] == names[0]


def list_prepared(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """Datasets prepared under `root`, "name[/config]:version" -> folder, older versions first."""
  infos = (info for depth in ("", "*/") for info in root.glob(f"[!.]*/{depth}*.*.*/{_WHOLE}"))
  numbers = {info.parent: info.parent.name.split(".") for info in infos}
  found = [folder for folder, version in numbers.items() if all(map(str.isdigit, version))]
  found.sort(key=lambda folder: (folder.parent, *map(int, numbers[folder])))
  return {f"{f.parent.relative_to(root).as_posix()}:{f.name}": f for f in found}


def find_prepared(root: pathlib.Path, name: str) -> pathlib.Path:
  """Folder of the dataset "name[/config][:version]"; the newest version where none is given.

  Raises:
    BadInput: no such dataset, or several configs of it; names what there is.
  """
  known = list_prepared(root)
  wanted, _, version = name.partition(":")
  matches = {}  # config -> folder of the newest version
  for key, folder in known.items():
    config = key.partition(":")[0]
    if version in ("", folder.name) and wanted in (config, config.partition("/")[0]):
      matches[config] = folder
  if len(matches) > 1 and wanted not in matches:
    raise BadInput(f"data.name: {name!r} has several configs; name one of {', '.join(matches)}")
  if not matches:
    raise BadInput(
      f"data.name: no {name!r} among the datasets in {root} ({', '.join(known) or 'there are none'}"
      "); prepare it there with tfds.builder(name, file_format='array_record')"
      ".download_and_prepare(), or set data.dir"
    )
  return matches.get(wanted) or next(iter(matches.values()))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without what TFDS prints, logs and draws while it prepares."""
  tfds.disable_progress_bar()
  logger = logging.getLogger("absl")
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logger.setLevel(level)
