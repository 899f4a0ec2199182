"""Files of interactions, read line by line: numbers in arrays, and what is wrong in a line."""

import contextlib
import csv
import datetime
import functools
import json
import math
import pathlib
from array import array
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from train.errors import BadInput
from train.fields import nearest
from train.ratings.text import ending_of, text_of


class Rows:
  """Interactions as they are read; users and items are numbered as they appear."""

  def __init__(self, *, needs_time: bool, needs_rating: bool):
    """`needs_rating`: ratings are read only then."""
    self.users: dict[Hashable, int] = {}
    self.items: dict[Hashable, int] = {}
    self.user, self.item = array("i"), array("i")
    self.time, self.rating = array("d"), array("d")  # of all rows, or of none
    self.has_time, self.needs_rating, self._needs_time = None, needs_rating, needs_time
    self.when: Callable[[str], float] | None = None  # how times are read, as the first one is

  def begin(self, *, time: bool, rating: bool) -> None:
    """Whether the rows of a file that comes next have times and ratings.

    Raises:
      BadInput: they have not what is needed, or one file has times and another none.
    """
    if self._needs_time and not time:
      raise BadInput("no column of times, which data.split needs; set it to given or name one")
    if self.needs_rating and not rating:
      raise BadInput("no column of ratings, which data.min_rating needs; name one, or leave it out")
    if self.has_time not in (None, time):
      raise BadInput(f"{'a' if time else 'no'} column of times, unlike in the files before it")
    self.has_time = time

  def add(self, user: Hashable, item: Hashable) -> None:
    self.user.append(self.users.setdefault(user, len(self.users)))
    self.item.append(self.items.setdefault(item, len(self.items)))


def delimited(
  rows: Rows, path: pathlib.Path, *, user: str, item: str, time: str = "", rating: str = ""
) -> None:
  """Reads a file with a header, by its name comma- or tab-separated, into `rows`.

  Args:
    user, item, time, rating: names of columns; '': there is none.

  Raises:
    BadInput: a column is missing, or a line is not what it should be; names it.
  """
  with text_of(path) as lines:
    ending, first = ending_of(path), next(lines, "")
    rows_of = csv.reader(_from(first, lines), **_dialect(ending, first), strict=True)
    try:
      header = [name.strip() for name in next(rows_of, [])]
      if ending == ".inter":
        header = [name.split(":")[0] for name in header]
        time, rating = (name if name in header else "" for name in (time, rating))
      columns = (user, item, time, rating if rows.needs_rating else "")
      for name in filter(None, columns):
        if name not in header:
          raise BadInput(_no_column(name, header, list(filter(None, columns))))
      rows.begin(time=bool(time), rating=bool(rating))
      before = len(rows.user)
      _add_all(rows, rows_of, header, *(header.index(x) if x else -1 for x in columns))
      if len(rows.user) == before:
        raise BadInput("a header alone; interactions should follow, one a line")
    except csv.Error as error:
      said = f"{error}; quotation marks must be closed, and fields be short"
      raise BadInput(f"{path}: line {rows_of.line_num}: {said}") from None
    except BadInput as error:
      raise BadInput(f"{path}: line {max(rows_of.line_num, 1)}: {error}") from None


def _add_all(rows: Rows, table: Any, header: list[str], u: int, i: int, t: int, r: int) -> None:
  """Adds the rows of a table; u, i, t, r: columns of user, item, time and rating, or -1."""
  add, width = rows.add, len(header)
  for row in table:
    if len(row) != width:
      if not row:  # an empty line
        continue
      raise BadInput(f"{len(row)} fields; there should be {width} ({', '.join(header)})")
    if not (row[u] and row[i]):
      raise BadInput(f"{header[i if row[u] else u]} is empty; each line needs one")
    add(row[u], row[i])
    if t >= 0:
      rows.when = rows.when or _reader_of(row[t])
      rows.time.append(_number(rows.when, row[t], header[t]))
    if r >= 0:
      rows.rating.append(_number(float, row[r], header[r]))


def adjacency(rows: Rows, path: pathlib.Path) -> None:
  """Reads lines `USER ITEM ITEM ...` of numbers; a user may have no items, or several lines."""
  try:
    rows.begin(time=False, rating=False)
  except BadInput as error:
    raise BadInput(f"{path}: {error}") from None
  with text_of(path) as lines:
    number = 0
    for number, line in enumerate(lines, 1):
      words = line.split()
      try:
        ids = list(map(int, words))
      except ValueError:
        ids = [-1]
      if ids and min(ids) < 0:
        wrong = next(word for word in words if not word.isdecimal())
        raise BadInput(
          f"{path}: line {number}: {wrong!r}; it should be USER ITEM ITEM ..., numbers from 0 on"
        )
      for item in ids[1:]:
        rows.add(ids[0], item)
    if not number:
      raise BadInput(f"{path}: line 1: empty; it should list USER ITEM ITEM ..., a user a line")


def reviews(rows: Rows, path: pathlib.Path) -> None:
  """Reads a review in JSON a line, with the keys of 2014 and 2018, or of 2023."""
  rows.begin(time=True, rating=True)
  with text_of(path) as lines:
    number, before = 0, len(rows.user)
    try:
      for line in lines:
        number += 1
        if line.isspace():
          continue
        try:
          review = json.loads(line)
        except ValueError as error:
          raise BadInput(f"not JSON ({error}); it should be a review") from None
        if not isinstance(review, dict):
          raise BadInput(f"{line.strip()[:40]!r}; it should be a review, {{...}}")
        rows.add(_text(review, "reviewerID", "user_id"), _text(review, "parent_asin", "asin"))
        rows.time.append(_value(review, "unixReviewTime", "timestamp"))
        if rows.needs_rating:
          rows.rating.append(_value(review, "overall", "rating"))
      if len(rows.user) == before:
        raise BadInput("empty; it should be reviews in JSON, one a line")
    except BadInput as error:
      raise BadInput(f"{path}: line {max(number, 1)}: {error}") from None


def _dialect(ending: str, first: str) -> dict[str, Any]:
  if ending == ".inter":
    return {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
  return {"delimiter": "\t" if ending == ".tsv" or (ending == ".txt" and "\t" in first) else ","}


def _from(first: str, lines: Iterator[str]) -> Iterator[str]:
  if first:
    yield first
  yield from lines


def _no_column(name: str, header: list[str], wanted: list[str]) -> str:
  if not header:
    return f"empty; it should be a header that names the columns {', '.join(wanted)}"
  near = nearest(name, header)
  return f"no column {name!r} among {', '.join(header)}{near or '; it is needed'}"


def _reader_of(text: str) -> Callable[[str], float]:
  """How times that look like this one are read."""
  for read in (float, _seconds):
    with contextlib.suppress(ValueError):
      read(text)
      return read
  raise BadInput(f"the time is {text!r}; it must be a number, or a date such as 2015-06-23")


@functools.lru_cache(2**16)
def _seconds(text: str) -> float:
  """Of a date or a date and time in ISO 8601; without a time zone it is UTC."""
  found = datetime.datetime.fromisoformat(text)
  return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


def _number(read: Callable[[str], float], text: str, name: str) -> float:
  try:
    number = read(text)
  except ValueError:
    number = math.nan
  if not math.isfinite(number):
    kind = "a finite number" if read is float else "a date such as 2015-06-23"
    raise BadInput(f"{name} is {text!r}; it must be {kind}")
  return number


def _text(review: dict[str, Any], *keys: str) -> str:
  key, value = _of(review, keys)
  if not isinstance(value, str) or not value:
    raise BadInput(f"{key} is {value!r}; it must be text")
  return value


def _value(review: dict[str, Any], *keys: str) -> float:
  key, value = _of(review, keys)
  if type(value) not in (int, float) or not math.isfinite(value):
    raise BadInput(f"{key} is {value!r}; it must be a finite number")
  return value


def _of(review: dict[str, Any], keys: tuple[str, ...]) -> tuple[str, Any]:
  for key in keys:
    if key in review:
      return key, review[key]
  raise BadInput(f"no {' or '.join(keys)} among {', '.join(review)}")
