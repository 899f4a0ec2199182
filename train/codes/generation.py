"""Drawing from a run's priors, some at a time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from train.codes.likelihood import LikelihoodStage
from train.codes.tokenizer import Coder, Tokenizer, TokenizerStage
from train.errors import BadInput
from train.task import Run
from vqlab import generation

_SAMPLES_AT_ONCE = 128
_POSITIONS_AT_ONCE = 2**19  # the caches of large maps are large


class Generator(NamedTuple):
  """A tokenizer and the priors of its levels, or of the first of them, top first."""

  coder: Coder
  trained: Tokenizer
  levels: tuple[generation.Level, ...]

  @property
  def num_classes(self) -> int:
    return max(level.model.num_classes for level in self.levels)


def of_run(run: Run, *last: tuple[Any, Any]) -> Generator:
  """The generator of a run's last finished tokenizer and the priors after it.

  Args:
    last: model and parameters of a prior that is not finished, of the level after those that are.

  Raises:
    BadInput: there are no priors, or a stage is not finished.
  """
  done = run.the(TokenizerStage)
  coder = done.stage.coder(run.about)
  names, stages = list(run.stages), list(run.stages.values())
  at = stages.index(done)
  priors = [s for s in stages[at + 1 :] if isinstance(s.stage, LikelihoodStage)]
  if not last and len(priors) < len(coder.shapes):
    run.the(LikelihoodStage)  # says so where there is none
    for name, stage in run.config.stages.items():
      if isinstance(stage, LikelihoodStage):
        run.needs(name)
    raise BadInput(f"{run.folder}: the tokenizer {names[at]!r} has no prior after it")
  models = [*((p.model, p.learned.params) for p in priors), *last]
  levels = tuple(
    generation.Level(*of, shape) for of, shape in zip(models, coder.shapes, strict=False)
  )
  return Generator(coder, done.learned, levels)


class Drawn(NamedTuple):
  outputs: np.ndarray  # [B, ...] as the data are stored: images u8[B, H, W, C]
  codes: tuple[np.ndarray, ...]  # i32[B, *shape] of every level, top first


def draw(
  generator: Generator,
  key: jax.Array,
  labels: np.ndarray,
  *,
  upper: Sequence[np.ndarray] = (),
  given: Sequence[tuple[np.ndarray, np.ndarray] | None] | None = None,
  **options: Any,
) -> Drawn:
  """Samples; some at a time, whatever their number.

  Args:
    labels: i32[B], the class of each sample; only its length matters to unconditional models.
    upper, given: as `generation.sample_codes` takes them, of all B samples.
    options: temperature, top_k, top_p.
  """
  positions = sum(int(np.prod(level.shape)) for level in generator.levels)
  at_once = max(1, min(_SAMPLES_AT_ONCE, _POSITIONS_AT_ONCE // positions, len(labels)))
  decode, parts = jax.jit(generator.coder.decode), []
  for first in range(0, len(labels), at_once):

    def part(x: np.ndarray, first: int = first) -> np.ndarray:
      x = np.asarray(x)[first : first + at_once]
      return np.pad(x, ((0, at_once - len(x)),) + ((0, 0),) * (x.ndim - 1))  # one compiled shape

    sample = generation.sample_images(
      key,
      lambda codes: decode(generator.trained, codes),
      generator.levels,
      at_once,
      labels=part(labels),
      upper=[part(x) for x in upper],
      given=given and [pair and tuple(map(part, pair)) for pair in given],
      first_index=first,
      **options,
    )
    parts.append((generator.coder.outputs(sample.images), *sample.codes))
  # Without what filled up the last part.
  outputs, *codes = (np.concatenate(x)[: len(labels)] for x in zip(*parts, strict=True))
  return Drawn(outputs, tuple(codes))
