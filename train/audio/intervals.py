"""Shares, and how far to trust them."""

import numpy as np
from scipy import stats


def share(name: str, right: int, count: int) -> dict[str, float]:
  """right / count, and the ends of its interval of 95 % (Wilson 1927): of independent examples."""
  interval = stats.binomtest(right, count).proportion_ci(method="wilson")
  return {name: right / count, f"{name}_low": interval.low, f"{name}_high": interval.high}


def grouped_share(name: str, right: np.ndarray, count: np.ndarray) -> dict[str, float]:
  """As `share`, of examples that come in groups: these are drawn anew (bootstrap, 2,000 times).

  Args:
    right, count: [G], of each group.
  """
  rows = np.random.default_rng(0).integers(0, len(count), (2000, len(count)))
  low, high = np.quantile(right[rows].sum(1) / count[rows].sum(1), (0.025, 0.975))
  return {name: right.sum() / count.sum(), f"{name}_low": low, f"{name}_high": high}
