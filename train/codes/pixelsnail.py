"""Trains one level's PixelSNAIL over extracted codes, given those of the levels above it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.codes import generation, likelihood
from train.codes.extract import ExtractStage
from train.codes.likelihood import LikelihoodStage
from train.codes.tokenizer import TokenizerStage
from train.fields import field
from train.learn import Learned
from train.task import Batch, Report, Run, Splits, Task, reported
from vqlab import priors


@dataclasses.dataclass(frozen=True)
class PixelSNAILStage(LikelihoodStage):
  """A PixelSNAIL; the defaults are what is reported of the VQ-VAE-2 paper's top prior.

  The first of an experiment learns the top level, the next one the level below it, and so on.
  """

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
  """Width of those blocks."""
  dropout: float = field(0.1, least=0, most=0.99)

  def make(self, run: Run) -> Task:
    done, extracted = run.the(TokenizerStage), run.the(ExtractStage)
    coder = done.stage.coder(run.about)
    is_prior = lambda stage: isinstance(stage, PixelSNAILStage)
    names = [name for name, stage in run.config.stages.items() if is_prior(stage)]
    if len(names) != len(coder.shapes):
      raise ValueError(
        f"the tokenizer has {len(coder.shapes)} levels, the experiment priors for {len(names)} "
        f"({', '.join(names)}); give as many"
      )
    above = [s for s in run.stages.values() if is_prior(s.stage)]
    level, shapes, num_classes = len(above), coder.shapes, self.num_classes(run.about)
    model = priors.PixelSNAIL(
      num_codes=coder.num_codes,
      num_classes=num_classes,
      upper_codes=(coder.num_codes,) * level,
      channels=self.channels,
      res_channels=self.res_channels,
      num_blocks=self.num_blocks,
      num_res_blocks=self.num_res_blocks,
      kernel_size=self.kernel_size,
      attention=self.attention,
      num_heads=self.num_heads,
      dropout=self.dropout,
      num_out_blocks=self.num_out_blocks,
      num_cond_blocks=self.num_cond_blocks if level else 0,
      cond_channels=self.cond_channels,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )

    def inputs(context: Any, batch: Batch) -> tuple[jax.Array, priors.Conditions]:
      labels = batch["label"] if num_classes else None
      return batch["codes"][level], priors.Conditions(labels, tuple(batch["codes"][:level]))

    def report(learned: Learned, examples: Splits) -> Report:
      """Samples from the top down; below the top also the details that real codes are given."""
      split = reported(examples)
      count = 64 if np.prod(shapes[-1]) <= 1024 else 16
      columns, key = int(np.sqrt(count)), jax.random.key(run.config.seed)
      source = generation.of_run(before, (model, learned.params))
      labels = np.arange(count, dtype=np.int32) * max(num_classes, 1) // count
      drawn = generation.draw(source, key, labels).outputs
      files = coder.show("samples", drawn, columns=columns)
      if level:
        real = split.read(np.linspace(0, len(split) - 1, 2 * columns, dtype=int), None)
        decoded = coder.outputs(jax.jit(coder.decode)(source.trained, real["codes"]))
        keys, upper = [jax.random.fold_in(key, i) for i in range(2)], real["codes"][:level]
        redrawn = [generation.draw(source, k, real["label"], upper=upper) for k in keys]
        sets = (decoded, *(x.outputs for x in redrawn))
        files |= coder.show("redrawn", *sets, columns=columns)
      return Report(files=files)

    before = dataclasses.replace(run, stages=dict(run.stages))  # as they are now
    blank = [jnp.zeros((1, *shape), jnp.int32) for shape in shapes[: level + 1]]
    label = jnp.zeros(1, jnp.int32) if num_classes else None
    return likelihood.task_of(
      self,
      model,
      inputs,
      blank=(blank[-1], priors.Conditions(label, tuple(blank[:-1]))),
      dims=coder.dims,
      upper=lambda: [
        (done.figures["nats_per_code"], int(np.prod(shape)))
        for done, shape in zip(above, shapes, strict=False)
      ],
      examples=lambda: extracted.learned,
      spec={
        "codes": tuple(jax.ShapeDtypeStruct(shape, np.int32) for shape in shapes),
        "label": jax.ShapeDtypeStruct((), np.int32),
      },
      report=report,
    )
