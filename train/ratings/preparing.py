"""Preparing a shop: its files are found, read once, repaired, numbered, split, and kept."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from train.data import fingerprint
from train.data.folders import data_dir
from train.errors import BadInput
from train.ratings import splitting
from train.ratings.reading import Rows
from train.ratings.shop import SPLITS, Shop
from train.ratings.sources import Files, Ratings
from train.ratings.text import ending_of
from train.report import console
from vqlab import graph

_VERSION = 1  # of what is kept: that of another version is prepared anew
_KEPT = "shop.npz"
# What the file of a split may be called.
_SPLITS = {"train": "train", "test": "test"}
_SPLITS |= dict.fromkeys(("dev", "val", "valid", "validation", "eval"), "eval")


def prepare(source: Ratings) -> str:
  """Makes sure that a shop is kept; returns its name there, KIND/HEX.

  Raises:
    BadInput: a field or a file is not what it should be, or nothing is left to train on.
  """
  files, root = source.files(), data_dir(source.dir)
  how = _split_of(source, files)
  values = {f.name: getattr(source, f.name) for f in dataclasses.fields(source) if _told(f)}
  contents = fingerprint.Contents(files.root, files.splits.values(), root)
  kind, options = type(source).__name__, sorted((values | {"split": how}).items())
  name = f"{kind.lower()}/{contents.name((_VERSION, kind, *options))}"
  folder = root / "ratings" / name
  if not (folder / _KEPT).is_file():
    _made(source, files, how).write(folder / _KEPT)
  contents.remember_with(folder)
  return name


def open_shop(source: Ratings) -> Shop:
  """What `prepare` keeps; raises BadInput as that does, or where what is kept is damaged."""
  path, named = data_dir(source.dir) / "ratings" / prepare(source) / _KEPT, _named(source)
  return Shop.read(path, _stem(named, source.endings) or named.name)


def difference(dir: str, before: str, now: str) -> str | None:
  """Which files differ of two that `prepare` named; None where both hold the same."""
  folders = [data_dir(dir) / "ratings" / name for name in (before, now)]
  if before == now:
    return None
  if all((folder / _KEPT).is_file() for folder in folders):
    kept = [Shop.read(folder / _KEPT, "") for folder in folders]
    if kept[0].same(kept[1]):
      return None
  files = fingerprint.difference(*folders)
  return f"; files: {files}" if files else ""


def files_of(path: str, endings: Sequence[str], kind: str) -> Files:
  """A file, the one in a folder, or those of the splits in a folder.

  Where there is no file for eval, that for test is eval's.

  Raises:
    BadInput: no such file, several, or two for one split.
  """
  root, known = pathlib.Path(path).expanduser(), ", ".join(endings)
  if not path or not root.exists():
    raise BadInput(f"data.path: no file or folder {path!r}; {kind} reads {known} (and .gz)")
  if root.is_file():
    if not _stem(root, endings):
      raise BadInput(f"data.path: {path} is no file that {kind} reads ({known}, and .gz)")
    return Files(root.parent, {"": root})
  found = [file for file in sorted(root.iterdir()) if _stem(file, endings)]
  splits: dict[str, pathlib.Path] = {}
  for file in found:
    split = _SPLITS.get(_stem(file, endings).split(".")[-1].lower(), "")
    if split and split in splits:
      raise BadInput(f"{root}: {splits[split].name} and {file.name} are of one split; keep one")
    splits[split] = file
  if {"train", "test"} <= splits.keys() and "eval" not in splits:
    splits["eval"] = splits.pop("test")
  if "train" in splits and "eval" in splits:
    return Files(root, {split: splits[split] for split in SPLITS if split in splits})
  if len(found) != 1:
    names = ", ".join(file.name for file in found[:3]) + ", ..." * (len(found) > 3)
    raise BadInput(
      f"{root}: {len(found)} files {known} ({names or 'none'}); it should have one, or a train, "
      "a dev and a test file; data.path may name a file"
    )
  return Files(root, {"": found[0]})


def _stem(file: pathlib.Path, endings: Sequence[str]) -> str:
  """A file's name without its ending; '' where it has none of those or is hidden."""
  name = file.name[:-3] if file.name.lower().endswith(".gz") else file.name
  known = ending_of(file) in endings and not name.startswith(".")
  return name.rpartition(".")[0] if known else ""


def _told(field: dataclasses.Field) -> bool:
  return not field.metadata.get("may_vary")


def _named(source: Ratings) -> pathlib.Path:
  return pathlib.Path(source.path).expanduser().resolve()


def _split_of(source: Ratings, files: Files) -> str:
  """How a shop is split; raises BadInput where its fields do not fit the files or each other."""
  apart = "" not in files.splits
  how = source.split or ("given" if apart else "leave_last_two_out")
  if how == "given" and not apart:
    raise BadInput(
      f"data.split: 'given', but {source.path} has no files of splits; give a folder of a train, a "
      "dev and a test file"
    )
  core = max(source.user_core, source.item_core)
  if how == "given" and core > 1:
    raise BadInput(
      f"data.user_core, data.item_core: {source.user_core}, {source.item_core}, but the splits of "
      f"{source.path} are given; leave both at 1, or set data.split to join the files"
    )
  if how == "ratio" and (len(source.fractions) != 2 or sum(source.fractions) >= 1):
    raise BadInput(
      f"data.fractions is {source.fractions}; it must be two parts, for eval and for test, of less "
      "than 1 together"
    )
  return how


def _made(source: Ratings, files: Files, how: str) -> Shop:
  """Reads the files and repairs what they say; prints what was done."""
  rows = Rows(needs_time=how != "given", needs_rating=source.min_rating is not None)
  ends = [0]
  for path in files.splits.values():
    source.read(rows, path)
    ends.append(len(rows.user))
  user, item = np.asarray(rows.user), np.asarray(rows.item)
  places = [SPLITS.index(split) if how == "given" else 0 for split in files.splits]
  split = np.repeat(np.array(places, np.uint8), np.diff(ends))
  counts = {"rows": len(user)}

  kept = np.arange(len(user))
  if source.min_rating is not None:
    kept = np.flatnonzero(np.asarray(rows.rating) >= source.min_rating)
  counts["below_min_rating"] = len(user) - len(kept)
  keys = [split[kept], user[kept]]
  if rows.has_time:
    keys.insert(0, np.asarray(rows.time)[kept])
  kept = kept[np.lexsort(keys)]  # by user, split, time, and as they were read
  pairs = user[kept].astype(np.int64) * len(rows.items) + item[kept]
  first = np.sort(np.unique(pairs, return_index=True)[1])
  counts["duplicates"] = len(kept) - len(first)
  kept = kept[first]
  if not len(kept):
    raise BadInput(_nothing(source, counts))
  inside = _in_core(source, user[kept], item[kept])
  counts["outside_core"] = len(kept) - len(inside)
  kept = kept[inside]

  user_ids, user = _numbered(rows.users, user[kept])
  item_ids, item = _numbered(rows.items, item[kept])
  if how == "given":
    split = source.given(user, item, split[kept])
  else:
    split = splitting.by_time(user, how, source.fractions)
  trained = np.bincount(user[split == 0], minlength=len(user_ids)) > 0
  if not trained.any():
    raise BadInput(_nothing(source, counts))
  counts["users_not_trained"] = int(np.sum(~trained))
  shop = Shop(_named(source).name, user_ids, item_ids, user, item, split, counts)
  console.print(_said(source, shop), markup=False)
  return shop


def _in_core(source: Ratings, user: np.ndarray, item: np.ndarray) -> np.ndarray:
  """i64[n]: which rows are in the core; raises BadInput where none is."""
  cores = {"user_core": source.user_core, "item_core": source.item_core}
  inside = np.flatnonzero(graph.k_core(user, item, **cores))
  if not len(inside):
    taken = graph.from_interactions(user, item, int(user.max()) + 1, int(item.max()) + 1)
    raise BadInput(
      f"data.user_core, data.item_core: {_core(source)} leaves none of the {len(user):,} "
      f"interactions of {source.path}; the largest core that leaves any is "
      f"{graph.core_numbers(taken).max()}"
    )
  return inside


def _numbered(ids: Iterable[object], nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The ids of the nodes that there are, str[N], and the nodes numbered by their places there."""
  names = np.array(list(map(str, ids)))
  there = np.bincount(nodes, minlength=len(names)) > 0
  return names[there], (np.cumsum(there) - 1).astype(np.int32)[nodes]


def _core(source: Ratings) -> str:
  cores = (source.user_core, source.item_core)
  return f"{cores[0]}-core" if cores[0] == cores[1] else f"core of {cores[0]} and {cores[1]}"


def _nothing(source: Ratings, counts: dict[str, int]) -> str:
  left_out = f", {counts['below_min_rating']:,} of them below data.min_rating"
  return (
    f"{source.path}: nothing is left to train on of {counts['rows']:,} rows"
    f"{left_out if counts['below_min_rating'] else ''}; a training split needs some"
  )


def _said(source: Ratings, shop: Shop) -> str:
  """What was read, repaired and kept, in a line."""
  counts = shop.counts
  read = f"{shop.name}: {counts['rows']:,} rows"
  if counts["below_min_rating"]:
    read += f", {counts['below_min_rating']:,} rated below {source.min_rating:g} dropped"
  if counts["duplicates"]:
    read += f", {counts['duplicates']:,} duplicates dropped"
  core = f"{_core(source)}: " if max(source.user_core, source.item_core) > 1 else ""
  sizes = [shop.num_users, shop.num_items, len(shop.user)]
  kept = "{:,} users, {:,} items, {:,} interactions".format(*sizes)
  parts = [f"{name} {np.sum(shop.split == k):,}" for k, name in enumerate(SPLITS)]
  lost = f"; {counts['users_not_trained']:,} users not trained on, so not evaluated"
  said = f"{read}; {core}{kept} ({', '.join(parts)})"
  return said + (lost if counts["users_not_trained"] else "")
