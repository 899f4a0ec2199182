"""The arguments of the verbs of ratings; each imports what does its work once they make sense."""

import dataclasses
import pathlib
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from train.cli import OfRun, Verb
from train.errors import BadInput
from train.fields import field


@dataclasses.dataclass(frozen=True)
class Recommend(OfRun):
  """Recommend items to a user, to a newcomer by what he took, or to all users in a file."""

  user: Annotated[str | None, arg(metavar="ID")] = None
  """A user, as the data call him: what he took, and what he is recommended."""
  user_items: Annotated[str | None, arg(metavar="ITEM,ITEM,...")] = None
  """Items of someone whom the data do not know."""
  all: Annotated[pathlib.Path | None, arg(metavar="FILE.csv")] = None
  """File to write for all users: user, rank, item, score."""
  top: int = field(10, least=1)
  """Items to recommend: the best of those that the user did not take, in any split."""

  def run(self) -> None:
    if sum(given is not None for given in (self.user, self.user_items, self.all)) != 1:
      raise BadInput("give exactly one of --user ID, --user_items ITEM,ITEM,... and --all FILE.csv")
    if self.all is not None and (self.all.suffix != ".csv" or self.all.is_dir()):
      raise BadInput(f"--all is {self.all}; it must be a file that ends in .csv")
    from train.ratings import recommending

    recommending.recommend(self)


@dataclasses.dataclass(frozen=True)
class Compare(Verb):
  """Compare finished runs, user by user: each experiment's mean, and how far it is from the first.

  Runs of one name are an experiment's, of several seeds. DIR:popularity, DIR:random and
  DIR:item_knn are what a stage of checks found in a run.
  """

  runs: Annotated[Positional[tuple[str, ...]], arg(metavar="DIR ...")]
  """Folders of runs."""
  figures: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = ("recall@20", "ndcg@20")
  """Figures to compare, as done.json names them."""
  markdown: Annotated[bool, FlagCreatePairsOff] = False
  """Print a table in Markdown."""

  def run(self) -> None:
    if not self.runs:
      raise BadInput("name at least one run's folder")
    if not self.figures:
      raise BadInput("--figures is empty; name some, as in --figures recall@20 ndcg@20")
    from train.ratings import comparing

    comparing.compare(self)
