"""Which classes are held out whole, to be evaluated on as classes that were never seen."""

import hashlib
import os
from collections.abc import Iterable


def held_out_names(names: Iterable[str], fraction: float) -> set[str]:
  """`fraction` of two names or more: rounded, but at least one, and at least one is left.

  The names whose SHA-256 is least: always the same ones, whatever their order, and few others when
  a name is added. None where `fraction` is 0.
  """
  ordered = sorted(set(names), key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
  count = int(len(ordered) * fraction + 0.5)
  return set(ordered[: min(max(count, 1), len(ordered) - 1)]) if fraction else set()
