"""Batches of columns from 20 million rows: opening, ordering and assembling them.

    python -m benchmarks.columns [--rows 20000000] [--batch_size 8192]

The peer is Grain's own shuffle, asked for each row of a batch, whose columns are then gathered by
the same indexing; both orders are anew each epoch and need no list of the rows.
"""

import argparse
import pathlib
import tempfile
import time
import tracemalloc

import grain
import numpy as np

from benchmarks.timing import best_time
from train.data import Columns, batch


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--rows", type=int, default=20_000_000)
  parser.add_argument("--batch_size", type=int, default=8_192)
  args = parser.parse_args()
  rng = np.random.default_rng(0)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "interactions.npz"
    ids = lambda most: rng.integers(0, most, args.rows, np.int32)
    np.savez(path, user=ids(1_000_000), item=ids(100_000))
    start = time.perf_counter()
    columns = Columns.read_npz(path)
    print(f"opened {len(columns):,} rows in {time.perf_counter() - start:.2f} s")

  ours = lambda k: batch(columns, 0, k, args.batch_size)
  order = grain.MapDataset.range(args.rows).seed(0).shuffle().repeat()

  def peer(k: int) -> dict[str, np.ndarray]:
    first = k * args.batch_size
    rows = np.array([order[first + i] for i in range(args.batch_size)])
    return columns.read(rows, None)

  tracemalloc.start()
  ours(0)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  rounds = [
    (best_time(lambda k=k: ours(k), repeats=3), best_time(lambda k=k: peer(k), repeats=1))
    for k in range(9)
  ]
  mine, theirs = np.median(rounds, axis=0)
  print(f"a batch of {args.batch_size:,}: {1e3 * mine:.2f} ms, {peak / 2**20:.1f} MiB at most")
  print(f"Grain's shuffle a row at a time: {1e3 * theirs:.1f} ms, {theirs / mine:.0f}x")


if __name__ == "__main__":
  main()
