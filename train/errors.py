"""What can go wrong, and the exit status that says so."""

DONE = 0
FAILED = 1  # the run broke; the last good checkpoint stands
BAD_INPUT = 2  # what the user gave can't be used; nothing was written
PREEMPTED = 75  # stopped by SIGTERM after saving; the same command continues


class BadInput(ValueError):
  """What the user gave can't be used; str() is one line: what, as it is, as it should be."""


class Damaged(BadInput):
  """What an earlier stage made is missing or can't be read; `fit` makes it anew."""


class Failed(RuntimeError):
  """The run can't go on; str() is one line that says where it stands."""


class Preempted(Exception):
  """The run was asked to stop, and has saved."""
