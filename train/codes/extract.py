"""Encodes the whole data set with a frozen tokenizer into shards that prior stages read."""

import contextlib
import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train import parallel
from train.codes import shards
from train.codes.shards import Codes, Description
from train.codes.tokenizer import Coder, Tokenizer, TokenizerStage, level_suffixes
from train.config import Stage
from train.data import Examples, batches_of
from train.errors import BadInput, Preempted
from train.fields import field
from train.report import Bar
from train.task import Run, Splits, Work
from vqlab import metrics

_FOLDERS = {"train": "train", "eval": "held_out", "test": "test"}


@dataclasses.dataclass(frozen=True)
class ExtractStage(Stage):
  """Codes of the whole data set, all levels, with labels."""

  batch_size: int = field(128, least=1, may_vary=True)
  """Examples that each process encodes at once; rounded up to a multiple of its devices."""
  shard_size: int = field(4096, least=1, may_vary=True)
  """Examples a shard: what a run that is killed does again is at most one a process."""

  def make(self, run: Run) -> Work:
    done = run.the(TokenizerStage)
    coder, trained = done.stage.coder(run.about), done.learned

    def work(folder: pathlib.Path, stop: Callable[[], bool]) -> None:
      splits = done.task.examples()
      source = "; ".join([_fingerprint(trained), *(split.name for split in splits.values())])
      for name, split in splits.items():
        description = Description(
          source=source,
          examples=len(split),
          shard_size=self.shard_size,
          shapes=coder.shapes,
          num_codes=(coder.num_codes,) * len(coder.shapes),
          class_names=tuple(run.about.get("class_names", ())),
        )
        encode = _encoder(coder, trained, split, self.batch_size)
        _write(folder / _FOLDERS[name], description, encode, stop)
      parallel.wait_for_all("codes extracted")

    def open_codes(folder: pathlib.Path) -> dict[str, Codes]:
      there = {name: folder / part for name, part in _FOLDERS.items()}
      found = {n: Codes(path) for n, path in there.items() if n != "test" or path.is_dir()}
      for codes in found.values():
        if codes.description.source.split("; ")[0] != _fingerprint(trained):
          raise BadInput(
            f"{codes.name}: codes of another tokenizer than the one in {folder.parent}; delete the "
            f"folders of {folder.name} and of the stages after it, and run fit again"
          )
      return found

    what = lambda: f"{sum(map(len, done.task.examples().values())):,} examples"
    return Work(run=work, open=open_codes, figures=_figures, what=what)


def _write(
  folder: pathlib.Path,
  description: Description,
  encode: Callable[[range], tuple[Sequence[np.ndarray], np.ndarray]],
  stop: Callable[[], bool],
) -> None:
  """The codes of a split, by all processes."""
  if jax.process_index() == 0:
    shards.begin(folder, description)
  parallel.wait_for_all(f"{folder.name} codes begun")
  quiet = jax.process_index() > 0
  bar = Bar(f"extract {folder.name}", 0, description.num_shards, quiet=quiet)

  def between(number: int) -> None:
    if stop():
      raise Preempted("extract stopped between two shards")
    bar.update(number, {})

  with contextlib.closing(bar):
    process = jax.process_index(), jax.process_count()
    shards.write(folder, description, encode, between=between, process=process)
    bar.update(description.num_shards, {})


def _figures(splits: Splits) -> dict[str, float]:
  """Numbers of examples, and the held-out codes' perplexity at every level."""
  train, held_out = splits["train"], splits["eval"]
  description = held_out.description
  counts = [np.zeros(k) for k in description.num_codes]
  for first in range(0, len(held_out), 1024):
    some = held_out.read(np.arange(first, min(first + 1024, len(held_out))))["codes"]
    for total, values in zip(counts, some, strict=True):
      total += np.bincount(values.reshape(-1), minlength=len(total))
  return {
    "train_examples": float(len(train)),
    "held_out_examples": float(len(held_out)),
    **{
      f"perplexity{suffix}": float(metrics.perplexity(total))
      for suffix, total in zip(level_suffixes(len(counts)), counts, strict=True)
    },
  }


def _encoder(
  coder: Coder, trained: Tokenizer, examples: Examples, batch_size: int
) -> Callable[[range], tuple[Sequence[np.ndarray], np.ndarray]]:
  """Examples' codes and labels by their indices, computed on all devices of this process."""
  devices = np.array(jax.local_devices())
  mesh = Mesh(devices, ("data",), axis_types=(AxisType.Auto,))
  split, replicated = (
    NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec())
  )
  size = -(-batch_size // len(devices)) * len(devices)
  on_devices = jax.device_put(trained, replicated)
  encode = jax.jit(
    lambda trained, batch: coder.encode(trained, coder.inputs(batch)),
    in_shardings=(replicated, split),
  )

  def of(indices: range) -> tuple[Sequence[np.ndarray], np.ndarray]:
    parts = []
    for batch in batches_of(examples, indices, size):
      given = {name: x for name, x in batch.items() if name in coder.spec}
      labels = batch.get("label", np.zeros(size, np.int32))
      parts.append((*encode(on_devices, jax.device_put(given, split)), labels))
      parts[-2:-1] = jax.device_get(parts[-2:-1])  # one late: the devices go on meanwhile
    # Without what filled up the last batch.
    *levels, labels = (np.concatenate(x)[: len(indices)] for x in zip(*parts, strict=True))
    return levels, labels

  return of


def _fingerprint(trained: Tokenizer) -> str:
  """Whose codes they are: changes with any weight."""
  digest = hashlib.sha256()
  for x in jax.tree.leaves(trained):
    digest.update(np.ascontiguousarray(x).tobytes())
  return digest.hexdigest()[:16]
