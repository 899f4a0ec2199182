"""Sources of ratings: who took what, read once from the files that data sets come in.

What was read is kept among the prepared datasets, numbered and split, and opened from there. A row
says that a user took an item, at some time; a user takes an item once. What is left out is counted.
Files are known by their names under the folder and their contents, wherever they lie.

To add a source: a subclass with `read`, in a file of its own or in a config file.
"""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from train.config import Source
from train.errors import BadInput
from train.fields import field

if TYPE_CHECKING:
  import numpy as np

  from train.ratings.reading import Rows
  from train.ratings.shop import Shop, Shops


class Files(NamedTuple):
  """What there is to be read."""

  root: pathlib.Path  # what names are relative to
  splits: dict[str, pathlib.Path]  # by "train", "eval", "test"; one file of all of them by ""


@dataclasses.dataclass(frozen=True)
class OneShop(Source):
  """What every source of one shop has."""

  def shop(self) -> "Shop":
    """The shop, which `prepare` has made ready."""
    raise NotImplementedError

  def open(self) -> "Shops":
    from train.ratings.shop import Shops

    shop = self.shop()
    return Shops(shop, shop)

  def about(self, splits: "Shops") -> dict[str, Any]:
    return {name: shop.about() for name, shop in splits._asdict().items()}


@dataclasses.dataclass(frozen=True)
class Ratings(OneShop):
  """What every source of one shop that is read from files has."""

  path: str = field("", may_vary=True)
  """A file, or a folder with one, or with one for each split: train, dev (or val, valid,
  validation, eval) and test. Any may be .gz."""
  split: Literal["leave_one_out", "leave_last_two_out", "ratio", "given"] | None = field(None)
  """What is held out of each user, by time: the last row for eval; the last for test and the one
  before for eval; the last `fractions` for both; or as the files are split. None: given where they
  are, otherwise leave_last_two_out. With another one than given, files of splits are joined."""
  fractions: tuple[float, ...] = field((0.1, 0.1), least=0, most=0.99)
  """Parts of each user's rows for eval and for test (split=ratio)."""
  min_rating: float | None = field(None)
  """Rows that are rated less are left out; None: ratings are not looked at."""
  user_core: int = field(1, least=1)
  """Users with fewer rows are left out, and items as `item_core` says, until there are none."""
  item_core: int = field(1, least=1)
  """Items with fewer rows are left out."""
  dir: str = field("", may_vary=True)
  """Where prepared datasets are kept; empty: $TFDS_DATA_DIR, or else ~/tensorflow_datasets."""

  endings: ClassVar[tuple[str, ...]] = ()  # of the files that can be read

  def files(self) -> Files:
    """The files that there are.

    Raises:
      BadInput: there are none, or not such.
    """
    from train.ratings.preparing import files_of

    return files_of(self.path, self.endings, type(self).__name__)

  def read(self, rows: "Rows", path: pathlib.Path) -> None:
    """Adds what a file says.

    Raises:
      BadInput: a line is not what it should be; names it.
    """
    raise NotImplementedError

  def given(self, user: "np.ndarray", item: "np.ndarray", split: "np.ndarray") -> "np.ndarray":
    """u8[n]: the splits of rows that are sorted by user and `split`, that of their file."""
    return split

  def prepare(self) -> str:
    from train.ratings import preparing

    return preparing.prepare(self)

  def differs(self, before: str, now: str) -> str:
    from train.ratings import preparing

    said = preparing.difference(self.dir, before, now)
    return "" if said is None else super().differs(before, now) + said

  def shop(self) -> "Shop":
    from train.ratings import preparing

    return preparing.open_shop(self)


@dataclasses.dataclass(frozen=True)
class Table(Ratings):
  """Comma- or tab-separated values with a header: .csv, .tsv, .txt."""

  user_column: str = field("user_id")
  """Column of the users."""
  item_column: str = field("item_id")
  """Column of the items."""
  time_column: str = field("time")
  """Column of times, numbers or dates such as 2015-06-23; empty: there is none."""
  rating_column: str = field("")
  """Column of ratings, for min_rating; empty: there is none."""

  endings = (".csv", ".tsv", ".txt")

  def read(self, rows: "Rows", path: pathlib.Path) -> None:
    from train.ratings.reading import delimited

    columns = {"user": self.user_column, "item": self.item_column}
    delimited(rows, path, **columns, time=self.time_column, rating=self.rating_column)


@dataclasses.dataclass(frozen=True)
class Inter(Ratings):
  """RecBole's .inter: tab-separated user_id:token, item_id:token, timestamp:float, rating:float.

  The last two may be missing; times may be dates such as 2015-06-23.
  """

  endings = (".inter",)

  def read(self, rows: "Rows", path: pathlib.Path) -> None:
    from train.ratings.reading import delimited

    delimited(rows, path, user="user_id", item="item_id", time="timestamp", rating="rating")


@dataclasses.dataclass(frozen=True)
class LightGCNText(Ratings):
  """LightGCN's folder of train.txt and test.txt: lines `USER ITEM ITEM ...`, numbers, no times."""

  eval_fraction: float = field(0.1, least=0, most=0.99)
  """Part of each user's training items that is held out for eval. 0: the test items are eval's, as
  in the original project, whose checkpoints were chosen by them."""
  eval_seed: int = field(0, least=0, most=2**31 - 1)
  """Of the hash that picks those items."""

  def files(self) -> Files:
    root = pathlib.Path(self.path).expanduser()
    found = {split: root / f"{split}.txt" for split in ("train", "test")}
    for split, path in found.items():
      if not path.is_file() and (packed := root / f"{split}.txt.gz").is_file():
        found[split] = packed
      elif not self.path or not path.is_file():
        raise BadInput(f"data.path: no {path.name} in {self.path!r}; LightGCNText reads both")
    return Files(root, found)

  def read(self, rows: "Rows", path: pathlib.Path) -> None:
    from train.ratings.reading import adjacency

    adjacency(rows, path)

  def given(self, user: "np.ndarray", item: "np.ndarray", split: "np.ndarray") -> "np.ndarray":
    from train.ratings.splitting import at_random

    train, split = split == 0, split.copy()
    if not self.eval_fraction:
      split[~train] = 1
    else:
      split[train] = at_random(user[train], item[train], self.eval_fraction, self.eval_seed)
    return split


@dataclasses.dataclass(frozen=True)
class AmazonReviews(Ratings):
  """Reviews in JSON, one a line, with the keys of 2014 and 2018 or those of 2023."""

  endings = (".json", ".jsonl")

  def read(self, rows: "Rows", path: pathlib.Path) -> None:
    from train.ratings.reading import reviews

    reviews(rows, path)


@dataclasses.dataclass(frozen=True)
class Market(OneShop):
  """A shop made up, whose items are of six kinds: see `train/ratings/market.py`; needs no file."""

  size: int = field(120, least=120)
  """Users of each kind, and items of each kind; a multiple of 120."""
  stray: float = field(0.1, least=0, most=1)
  """Part of what is bought first that is any item of the shop."""
  seed: int = field(0, least=0, most=2**31 - 1)
  """Of all that is drawn."""

  def prepare(self) -> str:
    return f"Market of 6 x {self.size}, stray {self.stray:g}, seed {self.seed}"

  def shop(self) -> "Shop":
    from train.ratings import market

    return market.made(self)


@dataclasses.dataclass(frozen=True)
class TwoShops(Source):
  """A shop to learn from, and another one in which items are recommended."""

  source: OneShop = field(Table())
  """Where networks are trained first."""
  target: OneShop = field(Table())
  """Where items are recommended."""

  def prepare(self) -> str:
    with _of("source", self.source):
      source = self.source.prepare()
    with _of("target", self.target):
      return f"{source} and {self.target.prepare()}"

  def differs(self, before: str, now: str) -> str:
    pairs = zip(before.split(" and "), now.split(" and "), strict=False)
    shops = zip(("source", "target"), (self.source, self.target), pairs, strict=False)
    found = {name: shop.differs(*names) for name, shop, names in shops}
    return "; ".join(f"{name}: {said}" for name, said in found.items() if said)

  def open(self) -> "Shops":
    from train.ratings.shop import Shops

    with _of("source", self.source):
      source = self.source.shop()
    with _of("target", self.target):
      return Shops(source, self.target.shop())

  about = OneShop.about


@contextlib.contextmanager
def _of(name: str, shop: OneShop) -> Iterator[None]:
  """Errors name the fields of one of two shops, `data.path` as `data.target.path`."""
  try:
    yield
  except BadInput as error:
    fields = "|".join(f.name for f in dataclasses.fields(shop))
    said = re.sub(rf"(?<!\S)data\.(?=(?:{fields})\b)", f"data.{name}.", str(error))
    raise BadInput(said) from error
