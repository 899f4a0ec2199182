"""Trains one level's PixelSNAIL over extracted codes, given those of the levels above it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train import config
from train.config import Experiment, field
from train.data import Split
from train.data.codes import CodesSplit
from train.errors import BadInput
from train.generate import Generator, draw_all
from train.optimizer import State
from train.report import sheet, to_uint8
from train.task import Batch, Finished, Task
from train.tasks import likelihood, networks, tokenizer
from train.tasks.likelihood import LikelihoodStage
from vqlab import generation, priors


@dataclasses.dataclass(frozen=True)
class PixelSNAILStage(LikelihoodStage):
  """A PixelSNAIL; the defaults are what is reported of the VQ-VAE-2 paper's top prior."""

  channels: int = field(512, least=1)
  """Width of the trunk."""
  res_channels: int = field(2048, least=1)
  """Width inside the gated blocks."""
  num_blocks: int = field(4, least=1)
  """Groups of gated blocks, each followed by attention where there is any."""
  num_res_blocks: int = field(5, least=1)
  """Gated blocks a group."""
  kernel_size: int = field(5, least=3)
  attention: bool = field(True)
  num_heads: int = field(8, least=1)
  num_out_blocks: int = field(20, least=0)
  """Residual 1x1 blocks before the logits."""
  num_cond_blocks: int = field(20, least=0)
  """Residual blocks over the upper levels' codes (all levels but the top)."""
  cond_channels: int = field(512, least=1)
  dropout: float = field(0.1, least=0, most=0.99)


def make(experiment: Experiment, own: str, split: Split, finished: dict[str, Finished]) -> Task:
  """The task of the stage named `own`: of the level that it has among the experiment's priors."""
  stage: PixelSNAILStage = getattr(experiment, own)
  network = networks.of(experiment.tokenizer, split.image_shape)
  names = [name for name, s in config.stages(experiment).items() if isinstance(s, PixelSNAILStage)]
  if len(names) != len(network.shapes):
    raise BadInput(
      f"tokenizer.downsamples is {experiment.tokenizer.downsamples}, {len(network.shapes)} levels; "
      f"{type(experiment).__name__} has priors for {len(names)} ({', '.join(names)})"
    )
  level = names.index(own)
  above, shapes, K = names[:level], network.shapes, network.num_codes
  num_classes = split.num_classes if stage.class_conditional else 0
  model = make_model(stage, num_codes=K[level], num_classes=num_classes, upper_codes=K[:level])

  def inputs(context: tuple, batch: Batch) -> tuple[jax.Array, priors.Conditions]:
    del context
    labels = batch["label"] if num_classes else None
    return batch["codes"][level], priors.Conditions(labels, tuple(batch["codes"][:level]))

  def generator(state: State) -> Generator:
    states = [*(finished[name].state for name in above), state]
    models = [*(finished[name].model for name in above), model]
    levels = [
      generation.Level(m, s.params, shape)
      for m, s, shape in zip(models, states, shapes, strict=False)
    ]
    trained = tokenizer.tokenizer(finished["tokenizer"].state)
    return Generator(network, trained, tuple(levels), split.image_shape)

  def pictures(state: State, context: tuple, split: CodesSplit) -> dict[str, np.ndarray]:
    """Samples from the top down; below the top also the details that held-out images are given."""
    del context
    count = 64 if np.prod(shapes[-1]) <= 1024 else 16
    columns, key = int(np.sqrt(count)), jax.random.key(experiment.seed)
    source = generator(state)
    labels = np.arange(count, dtype=np.int32) * max(split.num_classes, 1) // count
    drawn = {f"samples_{own}": sheet(draw_all(source, key, labels).images, columns)}
    if above:
      real = split.examples(np.linspace(0, len(split) - 1, 2 * columns, dtype=int))
      decoded = jax.jit(network.decode)(*source.trained, real["codes"])
      redrawn = [
        draw_all(source, jax.random.fold_in(key, i), real["label"], upper=real["codes"][:level])
        for i in range(2)
      ]
      drawn[f"redrawn_{own}"] = tokenizer.rows(
        to_uint8(decoded), *(x.images for x in redrawn), columns=columns
      )
    return drawn

  codes = tuple(jax.ShapeDtypeStruct(shape, np.int32) for shape in shapes)
  blank = [jnp.zeros((1, *shape), jnp.int32) for shape in shapes[: level + 1]]
  label = jnp.zeros(1, jnp.int32) if num_classes else None
  return likelihood.make(
    stage,
    model,
    inputs,
    blank=(blank[-1], priors.Conditions(label, tuple(blank[:-1]))),
    dims=int(np.prod(split.image_shape)),
    upper=lambda: [
      (finished[name].figures["nats_per_code"], int(np.prod(shape)))
      for name, shape in zip(above, shapes, strict=False)
    ],
    pictures=pictures,
    judged=lambda state, context, train, held_out: {},
    context=(),
    decided_by=DECIDED_BY,
    example={"codes": codes, "label": jax.ShapeDtypeStruct((), np.int32)},
    reads="extract",
  )


def make_model(
  stage: PixelSNAILStage, *, num_codes: int, num_classes: int, upper_codes: tuple[int, ...]
) -> priors.PixelSNAIL:
  return priors.PixelSNAIL(
    num_codes=num_codes,
    num_classes=num_classes,
    upper_codes=upper_codes,
    channels=stage.channels,
    res_channels=stage.res_channels,
    num_blocks=stage.num_blocks,
    num_res_blocks=stage.num_res_blocks,
    kernel_size=stage.kernel_size,
    attention=stage.attention,
    num_heads=stage.num_heads,
    dropout=stage.dropout,
    num_out_blocks=stage.num_out_blocks,
    num_cond_blocks=stage.num_cond_blocks if upper_codes else 0,
    cond_channels=stage.cond_channels,
    dtype=jnp.dtype(stage.dtype),
    param_dtype=jnp.dtype(stage.param_dtype),
  )


DECIDED_BY: dict[str, Any] = {
  r"label": ("class_conditional", "data.path"),
  r"cond": ("num_cond_blocks", "cond_channels", "tokenizer.codebook.num_codes"),
  r"out_blocks": ("num_out_blocks", "channels"),
  r".*": ("channels", "res_channels", "num_blocks", "num_res_blocks", "kernel_size", "attention"),
}
