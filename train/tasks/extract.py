"""Encodes the whole data set with a frozen tokenizer into shards that prior stages read."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train import parallel
from train.config import Experiment, Stage, field
from train.data import Split, batches_of, codes
from train.data.codes import CodesSplit, Description
from train.errors import BadInput, Preempted
from train.report import Bar
from train.task import Finished, Work
from train.tasks import networks
from train.tasks.tokenizer import Network, Tokenizer, level_suffixes, tokenizer
from vqlab import metrics

_FOLDERS = ("train", "held_out")


@dataclasses.dataclass(frozen=True)
class ExtractStage(Stage):
  """Codes of the whole data set, all levels, with labels."""

  batch_size: int = field(128, least=1, may_vary=True)
  """Examples that each process encodes at once; rounded up to a multiple of its devices."""
  shard_size: int = field(4096, least=1, may_vary=True)
  """Examples a shard: what a run that is killed does again is at most one a process."""


def make(experiment: Experiment, own: str, split: Split, finished: dict[str, Finished]) -> Work:
  """The work of a stage; it encodes with the finished stage "tokenizer"."""
  stage: ExtractStage = getattr(experiment, own)
  network = networks.of(experiment.tokenizer, split.image_shape)
  trained = tokenizer(finished["tokenizer"].state)

  def run(folder: pathlib.Path, splits: tuple[Split, Split], stop: Callable[[], bool]) -> None:
    source = "; ".join([_fingerprint(trained), *(images.name for images in splits)])
    for name, images in zip(_FOLDERS, splits, strict=True):
      description = Description(
        source=source,
        examples=len(images),
        shard_size=stage.shard_size,
        shapes=network.shapes,
        num_codes=network.num_codes,
        class_names=images.class_names,
      )
      if jax.process_index() == 0:
        codes.begin(folder / name, description)
      parallel.wait_for_all(f"{name} codes begun")
      encode = _encoder(network, trained, images, stage.batch_size)
      bar = Bar(f"extract {name}", 0, description.num_shards, quiet=jax.process_index() > 0)

      def between(number: int, bar: Bar = bar) -> None:
        if stop():
          raise Preempted("extract stopped between two shards")
        bar.update(number, {})

      try:
        codes.write(
          folder / name,
          description,
          encode,
          between=between,
          process_index=jax.process_index(),
          process_count=jax.process_count(),
        )
        bar.update(description.num_shards, {})
      finally:
        bar.close()
    parallel.wait_for_all("codes extracted")

  def open_codes(folder: pathlib.Path) -> tuple[CodesSplit, CodesSplit]:
    data = experiment.data
    threads = {"num_threads": data.num_threads, "prefetch": data.prefetch}
    found = tuple(CodesSplit(folder / name, **threads) for name in _FOLDERS)
    for each in found:
      if each.description.source.split("; ")[0] != _fingerprint(trained):
        raise BadInput(
          f"{each.name}: codes of another tokenizer than the one in {folder.parent}; delete the "
          f"folders of {folder.name} and of the stages after it, and run fit again"
        )
    return found

  return Work(run=run, open=open_codes, figures=_figures)


def _figures(splits: tuple[CodesSplit, CodesSplit]) -> dict[str, float]:
  """Numbers of examples, and the held-out codes' perplexity at every level."""
  train, held_out = splits
  description = held_out.description
  counts = [np.zeros(k) for k in description.num_codes]
  for first in range(0, len(held_out), 1024):
    some = held_out.examples(range(first, min(first + 1024, len(held_out))))["codes"]
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
  network: Network, trained: Tokenizer, images: Split, batch_size: int
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
    lambda trained, batch: network.encode(*trained, network.images({"image": batch})),
    in_shardings=(replicated, split),
  )

  def of(indices: range) -> tuple[Sequence[np.ndarray], np.ndarray]:
    parts, waiting = [], None
    for batch in batches_of(images, indices, size):
      pixels = jax.device_put(batch["image"], split)
      out = encode(on_devices, pixels), batch["label"], batch["mask"]
      if waiting is not None:  # one late: the devices go on meanwhile
        parts.append(_fetched(*waiting))
      waiting = out
    parts.append(_fetched(*waiting))
    levels = zip(*(levels for levels, _ in parts), strict=True)
    return [np.concatenate(level) for level in levels], np.concatenate([l for _, l in parts])

  return of


def _fetched(
  levels: tuple[jax.Array, ...], labels: np.ndarray, mask: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
  """What a batch gave, without what filled it up."""
  return [np.asarray(level)[mask] for level in levels], labels[mask]


def _fingerprint(trained: Tokenizer) -> str:
  """Whose codes they are: changes with any weight."""
  digest = hashlib.sha256()
  for x in jax.tree.leaves(trained):
    digest.update(np.ascontiguousarray(x).tobytes())
  return digest.hexdigest()[:16]
