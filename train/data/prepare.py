"""Preparing datasets: written once as ArrayRecord, then found again by name and content."""

import contextlib
import importlib
import io
import logging
import os
import pathlib
import shutil
import tempfile
import typing
from collections.abc import Iterator

import tensorflow_datasets as tfds

from train.data.config import Data
from train.errors import BadInput

_WHOLE = "dataset_info.json"  # TFDS writes it last


def prepare(data: Data) -> pathlib.Path:
  """Makes sure the dataset is there; returns its folder, <dir>/<name>[/<config>]/<version>.

  Does nothing where it was prepared before from the same files. A dataset appears under its name
  by a single rename once it is whole: however a preparation ends, no part of it is ever read, and
  of several at once the first one wins. (One that was killed leaves a hidden folder .preparing-*
  in data.dir, which can be deleted.) With several processes let one of them prepare first, so that
  the others find its work, where they share the folder, instead of repeating it.

  Raises:
    BadInput: a field of `data`, or a file it points to, can't be used.
  """
  check(data)
  root = data_dir(data)
  if data.source == "tfds":
    return find_prepared(root, data.name)

  module = importlib.import_module(
    f"train.data.builders.{data.source}.{data.source}_dataset_builder"
  )
  config = module.config(data)
  parts = (data.source, *([config.name] if config else []), str(module.Builder.VERSION))
  final = root.joinpath(*parts)
  if (final / _WHOLE).is_file():
    return final

  with _scratch(root) as scratch, _quiet():
    builder = module.Builder(data_dir=scratch, config=config, file_format="array_record")
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    if config and module.config(data).name != config.name:
      raise BadInput(f"data.path: files in {data.path} changed while they were read; run again")
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
      scratch.joinpath(*parts).rename(final)
    except OSError as error:  # a folder that isn't empty is there already
      if not (final / _WHOLE).is_file():
        raise BadInput(
          f"{final}: in the way, and not a whole dataset ({error.strerror}); delete it"
        ) from error
  return final


def check(data: Data) -> None:
  """Raises BadInput for a field that is impossible whatever the files are."""
  sources = typing.get_args(typing.get_type_hints(Data)["source"])
  if data.source not in sources:
    raise BadInput(f"data.source: {data.source!r}; give one of {', '.join(sources)}")
  if data.channels not in (None, 1, 3):
    raise BadInput(f"data.channels: {data.channels}; give 1, 3 or None")
  if data.image_size is not None and data.image_size < 1:
    raise BadInput(f"data.image_size: {data.image_size}; give at least 1 pixel, or None")
  if data.tile < 0 or data.tile_stride < 0:
    raise BadInput(f"data: {data.tile=}, {data.tile_stride=}; give 0 or more pixels")
  if data.tile and data.source != "folder":
    raise BadInput(f"data.tile: {data.tile}, but only source=folder cuts tiles; set it to 0")
  if data.tile_stride and not data.tile:
    raise BadInput(f"data.tile_stride: {data.tile_stride}, but data.tile is 0; set that as well")
  if not 0 <= data.eval_fraction < 1:
    raise BadInput(f"data.eval_fraction: {data.eval_fraction}; give at least 0 and less than 1")
  choices = typing.get_args(typing.get_type_hints(Data)["hold_out"])
  if data.hold_out not in choices:
    raise BadInput(f"data.hold_out: {data.hold_out!r}; give one of {', '.join(choices)}")
  if data.hold_out != "examples" and data.source != "folder":
    raise BadInput(
      f"data.hold_out: {data.hold_out!r}, but only source=folder chooses what to hold out; set it "
      "to examples"
    )
  if data.eval_alphabets and data.source != "omniglot":
    raise BadInput(
      f"data.eval_alphabets: {data.eval_alphabets!r}, but only source=omniglot has alphabets; "
      "leave it empty"
    )
  if data.num_threads < 0 or data.prefetch < 0:
    raise BadInput(f"data: {data.num_threads=}, {data.prefetch=}; give 0 or more")


def data_dir(data: Data) -> pathlib.Path:
  """Where prepared datasets are kept: data.dir, or TFDS' own default."""
  folder = data.dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
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
