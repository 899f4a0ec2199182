"""Images as batches: prepared once as TFDS datasets, read by index, ordered by Grain.

    data = Data(source="folder", path="photos", image_size=64)
    prepare(data)                                    # one process first, where there are several
    train, held_out = open_split(data, "train"), open_split(data, "eval")
    for step, batch in enumerate(train_batches(train, seed, start, stop, 128), start): ...
    for batch in eval_batches(held_out, 128): ...    # padded: weigh with batch["mask"]

Datasets are written once, as ArrayRecord, and appear whole or not at all; a folder that changed is
prepared anew. Training batch k is a pure function of (seed, k), so the step is all that a run
needs to resume, on any number of processes; `batch` computes any single one. What a user got wrong
is raised as `train.errors.BadInput`.

`Groups(split, group_size=8)` is a labelled split whose batches consist of groups of examples that
share a label, which the batch's field `group` tells apart; it is read in the split's place, by the
same functions. `disjoint_groups` cuts labels into groups of exactly k, to evaluate on.

Groups of classes never seen: source=omniglot holds out whole alphabets, source=folder with
hold_out=classes whole subfolders.

A dataset that TFDS knows, or that any TFDS builder wrote as ArrayRecord with the features `image`
and `label`, needs no code: source=tfds and its name. To add another source, write a package
`builders/<name>/` as TFDS lays it out, with `Builder` and `config(data)` in
`<name>_dataset_builder.py`, and add <name> to `Data.source`.
"""

from train.data.config import Data
from train.data.groups import Groups, disjoint_groups
from train.data.images import load_image
from train.data.pipeline import batch, batches_of, eval_batches, train_batches
from train.data.prepare import data_dir, prepare
from train.data.source import Split, open_split

__all__ = [
  "Data",
  "Groups",
  "Split",
  "batch",
  "batches_of",
  "data_dir",
  "disjoint_groups",
  "eval_batches",
  "load_image",
  "open_split",
  "prepare",
  "train_batches",
]
