"""Encodes the whole data set with a frozen tokenizer into shards that prior stages read."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train.config import Experiment, Stage, field
from train.data import Split, codes
from train.data.codes import CodesSplit, Description
from train.errors import Preempted
from train.report import Bar
from train.task import Finished, Work
from train.tasks import networks
from train.tasks.tokenizer import Network, Tokenizer, level_names, tokenizer
from vqlab import metrics

_FOLDERS = ("train", "held_out")


@dataclasses.dataclass(frozen=True)
class ExtractStage(Stage):
  """Codes of the whole data set, all levels, with labels."""

  shard_size: int = field(4096, least=1)
  """Examples a shard: what a run that is killed does again is at most one."""


def make(experiment: Experiment, own: str, split: Split, finished: dict[str, Finished]) -> Work:
  """The work of a stage; it encodes with the finished stage "tokenizer"."""
  stage: ExtractStage = getattr(experiment, own)
  network = networks.of(experiment.tokenizer, split.image_shape)
  trained = tokenizer(finished["tokenizer"].state)

  def run(folder: pathlib.Path, splits: tuple[Split, Split], stop: Callable[[], bool]) -> None:
    source = _fingerprint(trained, splits)
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
      _wait_for_all(f"{name} codes begun")
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
    _wait_for_all("codes extracted")

  def open_codes(folder: pathlib.Path) -> tuple[CodesSplit, CodesSplit]:
    data = experiment.data
    threads = {"num_threads": data.num_threads, "prefetch": data.prefetch}
    return tuple(CodesSplit(folder / name, **threads) for name in _FOLDERS)

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
  names = level_names(len(counts))
  suffixes = [f"_{name}" if name else "" for name in names]
  return {
    "train_examples": float(len(train)),
    "held_out_examples": float(len(held_out)),
    **{
      f"perplexity{suffix}": float(metrics.perplexity(total))
      for suffix, total in zip(suffixes, counts, strict=True)
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
    parts, labels = [], []
    for first in range(0, len(indices), size):
      some = list(indices[first : first + size])
      batch = images.examples(some + [some[-1]] * (size - len(some)))  # one compiled shape
      out = encode(on_devices, batch["image"])
      parts.append((out, len(some)))  # not waited for: the next batch is read meanwhile
      labels.append(batch["label"][: len(some)])
    levels = zip(*([np.asarray(x)[:n] for x in out] for out, n in parts), strict=True)
    return [np.concatenate(level) for level in levels], np.concatenate(labels)

  return of


def _fingerprint(trained: Tokenizer, splits: tuple[Split, Split]) -> str:
  """Whose codes they are: changes with any weight, and with the data set."""
  digest = hashlib.sha256()
  for x in jax.tree.leaves(trained):
    digest.update(np.ascontiguousarray(x).tobytes())
  return "; ".join([digest.hexdigest()[:16], *(images.name for images in splits)])


def _wait_for_all(what: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)
