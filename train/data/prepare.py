"""Preparing datasets: written once as ArrayRecord, then found again by name and content."""

import contextlib
import io
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds

from train.errors import BadInput

_WHOLE = "dataset_info.json"  # TFDS writes it last


def prepare(name: str, builder: type, config_of: Callable[[], Any], folder: str) -> pathlib.Path:
  """Makes sure a builder's dataset is there; returns its folder, <dir>/<name>[/<config>]/<version>.

  Does nothing where it was prepared before from the same files. A dataset appears under its name
  by a single rename once it is whole: however a preparation ends, no part of it is ever read, and
  of several at once the first one wins. (One that was killed leaves a hidden folder .preparing-*
  in the datasets' folder, which can be deleted.) With several processes let one of them prepare
  first, so that the others find its work, where they share the folder, instead of repeating it.

  Args:
    config_of: the builder's config by the files as they are now, or None.
    folder: where datasets are kept, see `data_dir`.

  Raises:
    BadInput: what the dataset is made from can't be used.
  """
  root, config = data_dir(folder), config_of()
  parts = (name, *([config.name] if config else []), str(builder.VERSION))
  final = root.joinpath(*parts)
  if (final / _WHOLE).is_file():
    return final

  with _scratch(root) as scratch, _quiet():
    making = builder(data_dir=scratch, config=config, file_format="array_record")
    making.download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    if config and config_of().name != config.name:
      raise BadInput("data.path: files changed while they were read; run again")
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
      scratch.joinpath(*parts).rename(final)
    except OSError as error:  # a folder that isn't empty is there already
      if not (final / _WHOLE).is_file():
        raise BadInput(
          f"{final}: in the way, and not a whole dataset ({error.strerror}); delete it"
        ) from error
  return final


def data_dir(folder: str = "") -> pathlib.Path:
  """Where prepared datasets are kept: the folder, or TFDS' own default."""
  folder = folder or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return pathlib.Path(folder).expanduser()


def list_prepared(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """Datasets prepared under `root`, "name[/config]:version" -> folder, older versions first."""
  infos = (info for depth in ("*/*", "*/*/*") for info in root.glob(f"{depth}/{_WHOLE}"))
  found = [info.parent for info in infos if not _hidden(info.relative_to(root))]
  found.sort(key=lambda folder: (folder.parent, _version(folder.name)))
  return {f"{f.parent.relative_to(root).as_posix()}:{f.name}": f for f in found}


def find_prepared(root: pathlib.Path, name: str) -> pathlib.Path:
  """Folder of the dataset "name[/config][:version]"; the newest version where none is given.

  Raises:
    BadInput: no such dataset, or several configs of it; names what there is.
  """
  if not name:
    raise BadInput(f"data.name: empty; give name[/config][:version] of {_known(root)}")
  wanted, _, version = name.partition(":")
  matches = {
    key: folder
    for key, folder in list_prepared(root).items()
    if (key.partition(":")[0] == wanted or key.startswith(f"{wanted}/"))
    and version in ("", folder.name)
  }
  if not matches:
    raise BadInput(
      f"data.name: no {name!r} among {_known(root)}; prepare it there with "
      "tfds.builder(name, file_format='array_record').download_and_prepare(), or set data.dir"
    )
  configs = sorted({key.partition(":")[0] for key in matches})
  if wanted in configs:
    configs = [wanted]
  if len(configs) > 1:
    raise BadInput(f"data.name: {name!r} has several configs; name one of {', '.join(configs)}")
  return [folder for key, folder in matches.items() if key.partition(":")[0] == configs[0]][-1]


def _known(root: pathlib.Path) -> str:
  return f"the datasets in {root} ({', '.join(list_prepared(root)) or 'there are none'})"


def _hidden(relative: pathlib.Path) -> bool:
  return any(part.startswith(".") or "incomplete" in part for part in relative.parts)


def _version(name: str) -> tuple[int, ...]:
  return tuple(int(part) if part.isdigit() else 0 for part in name.split("."))


@contextlib.contextmanager
def _scratch(root: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder of our own next to the datasets, on the same disk, that is gone afterwards."""
  try:
    root.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=".preparing-", dir=root))
  except OSError as error:
    raise BadInput(
      f"data.dir: can't write to {root} ({error.strerror}); set it to a folder you can write to"
    ) from error
  try:
    yield folder
  finally:
    shutil.rmtree(folder, ignore_errors=True)


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
