"""Examples and batches: what every kind of data has, see `examples.Examples`.

    for step, batch in enumerate(train_batches(examples, seed, start, stop, 128), start): ...
    for batch in eval_batches(examples, 128): ...    # padded: weigh with batch["mask"]

Training batch k is a pure function of (seed, k), so the step is all that a run needs to resume, on
any number of processes. `Columns` are numbers in memory; `Groups` are examples that share a label;
images and clips are TFDS datasets, prepared once (`prepare.py`) and read by index. What a user got
wrong is raised as `train.errors.BadInput`.
"""

from train.data.columns import Columns
from train.data.examples import Batches, Examples, Rows, words
from train.data.groups import Groups, disjoint_groups
from train.data.pipeline import batch, batches_of, eval_batches, train_batches

__all__ = [
  "Batches",
  "Columns",
  "Examples",
  "Groups",
  "Rows",
  "batch",
  "batches_of",
  "disjoint_groups",
  "eval_batches",
  "train_batches",
  "words",
]
