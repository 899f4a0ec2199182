"""Drawing images from an experiment's priors, some at a time."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from train import config
from train.config import Experiment
from train.errors import BadInput
from train.report import to_uint8
from train.task import Finished
from train.tasks import networks
from train.tasks.likelihood import LikelihoodStage
from train.tasks.tokenizer import Network, Tokenizer, tokenizer
from vqlab import generation

_SAMPLES_AT_ONCE = 128
_POSITIONS_AT_ONCE = 2**19  # the caches of large maps are large


class Generator(NamedTuple):
  """A tokenizer and the priors of its levels, or of the first of them, top first."""

  network: Network
  trained: Tokenizer
  levels: tuple[generation.Level, ...]
  image_shape: tuple[int, int, int]  # H, W, C

  @property
  def num_classes(self) -> int:
    return max(level.model.num_classes for level in self.levels)


def of_run(stages: Mapping[str, Finished], experiment: Experiment, folder: str) -> Generator:
  """The generator of a run's finished stages.

  Raises:
    BadInput: the experiment has no priors, or one of its stages is not finished.
  """
  names = [n for n, s in config.stages(experiment).items() if isinstance(s, LikelihoodStage)]
  if not names:
    raise BadInput(f"{folder}: the experiment {experiment.name!r} has no prior to draw from")
  for name in ("tokenizer", *names):
    if name not in stages:
      raise BadInput(f"{folder}: the stage {name!r} is not finished; run fit again to go on")
  shape = stages["tokenizer"].task.example["image"].shape
  network = networks.of(experiment.tokenizer, shape)
  levels = tuple(
    generation.Level(stages[name].model, stages[name].state.params, codes)
    for name, codes in zip(names, network.shapes, strict=True)
  )
  return Generator(network, tokenizer(stages["tokenizer"].state), levels, shape)


class Drawn(NamedTuple):
  images: np.ndarray  # u8[B, H, W, C]
  codes: tuple[np.ndarray, ...]  # i32[B, *shape] of every level, top first


def draw(
  generator: Generator,
  key: jax.Array,
  labels: np.ndarray,
  *,
  upper: Sequence[np.ndarray] = (),
  given: Sequence[tuple[np.ndarray, np.ndarray] | None] | None = None,
  **options: Any,
) -> Iterator[Drawn]:
  """Samples, some at a time.

  Args:
    labels: i32[B], the class of each sample; only its length matters to unconditional models.
    upper, given: as `generation.sample_codes` takes them, of all B samples.
    options: temperature, top_k, top_p.
  """
  positions = sum(int(np.prod(level.shape)) for level in generator.levels)
  at_once = max(1, min(_SAMPLES_AT_ONCE, _POSITIONS_AT_ONCE // positions, len(labels)))
  decode = functools.partial(jax.jit(generator.network.decode), *generator.trained)
  for first in range(0, len(labels), at_once):
    count = min(at_once, len(labels) - first)

    def part(x: np.ndarray, first: int = first, count: int = count) -> np.ndarray:
      x = np.asarray(x)[first : first + count]
      return np.pad(x, ((0, at_once - count),) + ((0, 0),) * (x.ndim - 1))  # one compiled shape

    sample = generation.sample_images(
      key,
      decode,
      generator.levels,
      at_once,
      labels=part(labels),
      upper=[part(x) for x in upper],
      given=given and [pair and tuple(map(part, pair)) for pair in given],
      first_index=first,
      **options,
    )
    codes = tuple(np.asarray(c)[:count] for c in sample.codes)
    yield Drawn(to_uint8(sample.images)[:count], codes)


def draw_all(generator: Generator, key: jax.Array, labels: np.ndarray, **options: Any) -> Drawn:
  """What `draw` yields, in one piece."""
  parts = list(draw(generator, key, labels, **options))
  levels = zip(*(part.codes for part in parts), strict=True)
  return Drawn(np.concatenate([part.images for part in parts]), tuple(map(np.concatenate, levels)))
