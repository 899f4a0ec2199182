"""A prior over the codes of frames, given those of earlier frames and what is done."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.codes import likelihood
from train.codes.likelihood import LikelihoodStage
from train.codes.tokenizer import Tokenizer
from train.fields import field
from train.learn import Learned
from train.task import Batch, Finished, Report, Run, Splits, Task, reported
from train.video import foretelling
from train.video.vqvae import VideoVQVAEStage, counted
from vqlab import priors


@dataclasses.dataclass(frozen=True)
class FramePriorStage(LikelihoodStage):
  """A `VideoPixelCNN` over the tokenizer's codes (arXiv 1711.00937, section 4.4)."""

  class_conditional: bool = field(False)
  """Learn the codes given the class, where the data has classes."""
  action_conditional: bool = field(True)
  """Learn the codes given what was done before each frame, where the data tell."""
  given: int = field(6, least=1)
  """Frames that are given when the others are predicted; figures are of the others."""
  window: int = field(4, least=1)
  """Frames back that a frame looks."""
  channels: int = field(128, least=1)
  """Width of the network."""
  num_encoder_blocks: int = field(2, least=0)
  """Residual blocks over the codes of a frame."""
  num_context_blocks: int = field(2, least=1)
  """Blocks that look back."""
  num_heads: int = field(4, least=1)
  num_layers: int = field(12, least=1)
  """Of the PixelCNN over a frame's own codes."""
  kernel_size: int = field(5, least=3)
  hidden: int = field(512, least=1)
  """Width of the layer before the logits."""
  temperature: float = field(1.0, least=0, may_vary=True)
  """Of the codes that are drawn for the figures; 0: always the most probable one."""
  judged: int = field(256, least=1, may_vary=True)
  """Held-out clips whose frames are predicted for the figures, at most."""

  def action_dim(self, about: dict[str, Any]) -> int:
    """Numbers of an action that the model is told of; 0 where it is told of none."""
    return about.get("action_dim", 0) if self.action_conditional else 0

  def conditions(self, about: dict[str, Any], batch: Batch) -> priors.VideoConditions:
    """What the model is told of a batch's clips."""
    return priors.VideoConditions(
      labels=batch["label"] if self.num_classes(about) else None,
      actions=batch["action"].astype(self.param_dtype) if self.action_dim(about) else None,
    )

  def oracle(
    self, about: dict[str, Any], tokenizer: Finished, model: Any, learned: Learned
  ) -> foretelling.Oracle:
    """What draws frames."""
    conditions = functools.partial(self.conditions, about)
    coder = tokenizer.stage.coder(about)
    return foretelling.Oracle(coder, tokenizer.learned, model, learned.params, conditions)

  def make(self, run: Run) -> Task:
    done, about = run.the(VideoVQVAEStage), run.about
    coder = done.stage.coder(about)
    ((frames, *map_shape),) = coder.shapes
    if self.given >= frames:
      raise ValueError(f"given is {self.given}; it must leave some of the clips' {frames} frames")
    num_classes, action_dim = self.num_classes(about), self.action_dim(about)
    model = priors.VideoPixelCNN(
      num_codes=coder.num_codes,
      map_shape=tuple(map_shape),
      num_classes=num_classes,
      action_dim=action_dim,
      window=self.window,
      channels=self.channels,
      num_encoder_blocks=self.num_encoder_blocks,
      num_context_blocks=self.num_context_blocks,
      num_heads=self.num_heads,
      num_layers=self.num_layers,
      kernel_size=self.kernel_size,
      hidden=self.hidden,
      dropout=self.dropout,
      dtype=jnp.dtype(self.dtype),
      param_dtype=jnp.dtype(self.param_dtype),
    )

    def inputs(context: Tokenizer, batch: Batch) -> tuple[jax.Array, priors.VideoConditions]:
      (codes,) = coder.encode(context, coder.inputs(batch))
      return codes, self.conditions(about, batch)

    def predicted(batch: Batch) -> jax.Array:
      later = jnp.arange(frames, dtype=jnp.int32) >= self.given
      return counted(batch)[:, None] & later

    def report(learned: Learned, examples: Splits) -> Report:
      oracle = self.oracle(about, done, model, learned)
      return foretelling.report(self, oracle, reported(examples), seed=run.config.seed)

    blank = {name: np.zeros((1, *x.shape), x.dtype) for name, x in coder.spec.items()}
    return likelihood.task_of(
      self,
      model,
      inputs,
      blank=(
        jnp.zeros((1, frames, *map_shape), jnp.int32),
        self.conditions(about, jax.tree.map(jnp.asarray, blank)),
      ),
      dims=coder.dims,
      mask=predicted,
      examples=done.task.examples,
      spec=coder.spec,
      report=report,
      context=done.learned,
    )
