"""Trains an autoencoder with codebooks, of one level or several: the tokenizer of later stages.

What differs from subject to subject is a `Coder`: the network, and how data go in and come out.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from train import learn
from train.config import TrainingStage
from train.fields import field
from train.learn import State
from train.report import usage_plot
from train.task import Batch, Report, Run, Splits, Task, reported
from vqlab import metrics, quantize
from vqlab.autoencoders import discrete


@dataclasses.dataclass(frozen=True)
class Codebook:
  """The codes and how they are trained."""

  num_codes: int = field(512, least=1)
  """K."""
  dim: int = field(64, least=1)
  """D."""
  update: Literal["ema", "gradient"] = field("ema")
  """ema: by discounted means of the vectors assigned; gradient: as a parameter, by its loss."""
  decay: float = field(0.99, least=0, most=1)
  """Discount of the means (ema)."""
  epsilon: float = field(1e-5, least=0)
  """Laplace smoothing of the counts (ema)."""
  revive_threshold: float = field(0.01, least=0, most=1)
  """A code whose count is below this part of the mean moves to a vector of the batch (ema); 0: none
  does."""


class Tokenizer(NamedTuple):
  """What is learned."""

  params: Any
  codebooks: tuple[jax.Array, ...]  # [K, D] of every level, top first


class Fidelity(NamedTuple):
  """How what the model gives is compared with what it was given."""

  name: str  # of the error among the figures
  error: Callable[[jax.Array, Any], jax.Array]  # (reconstruction, x) -> [B, ...], what is trained
  scale: float  # divides it
  sums: Callable[[jax.Array, Any, Batch], Any]  # (reconstruction, x, batch), when evaluated
  figures: Callable[[Any], dict[str, Any]]  # of those sums; one has the error's name


class Coder(NamedTuple):
  """An autoencoder with codebooks, and how a kind of data goes in and comes out."""

  model: nn.Module  # as vqlab.autoencoders.discrete takes it
  shapes: tuple[tuple[int, ...], ...]  # of an example's codes at every level, top first
  num_codes: int  # K of every level
  spec: dict[str, Any]  # one example's shapes and types
  blank: Any  # what `inputs` gives of one example
  dims: int  # values of an example, to which rates in bits are referred
  inputs: Callable[[Batch], Any]  # a batch as the model takes it
  fidelity: Fidelity | None  # of tokenizers by nearest codes
  report: Callable[[Tokenizer, Any, tuple], dict[str, Any]]  # (trained, x, codes) -> files
  columns: int  # examples side by side, where many are shown
  rows: int = 4  # of them in the report
  mask: Callable[[Batch], jax.Array] = lambda batch: batch["mask"]  # codes that are evaluated
  # Where all of x is decoded at once:
  mean: Callable[[Any], Any] = lambda decoded: decoded  # what the model gives, on x's scale
  outputs: Callable[[Any], np.ndarray] | None = None  # the same as data are stored
  nats: Callable[[Any, Any], jax.Array] | None = None  # (..., x) -> -log p(x | codes), [B]
  show: Callable[..., dict[str, Any]] | None = None  # (name, *sets of outputs, columns) -> files

  def encode(self, trained: Tokenizer, x: Any) -> tuple[jax.Array, ...]:
    """The codes of all levels."""
    return discrete.encode(self.model, *trained, x)

  def decode(self, trained: Tokenizer, codes: tuple[jax.Array, ...]) -> jax.Array:
    """What the model gives for codes of all levels, or of the first ones."""
    return discrete.decode(self.model, *trained, codes)


@dataclasses.dataclass(frozen=True)
class TokenizerStage(TrainingStage):
  """What every tokenizer has, however it is trained; it learns a `Tokenizer`."""

  def coder(self, about: dict[str, Any]) -> Coder:
    """For data of which the source says this."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class CodebookStage(TokenizerStage):
  """A tokenizer by nearest codes; a subclass gives its `coder`."""

  codebook: Codebook = field(Codebook())
  """Of every level."""
  beta: float = field(0.25, least=0)
  """Weight of the commitment loss."""

  def examples(self, run: Run) -> Splits:
    """What is trained on, and evaluated."""
    return run.splits

  def make(self, run: Run) -> Task:
    return _task(self, self.coder(run.about), run)


def level_suffixes(count: int) -> tuple[str, ...]:
  """What the names of levels' figures end in, top first; nothing where there is one level."""
  if count <= 3:
    return (("",), ("_top", "_bottom"), ("_top", "_middle", "_bottom"))[count - 1]
  return tuple(f"_level{l}" for l in range(count))


def _task(stage: CodebookStage, coder: Coder, run: Run) -> Task:
  optimizer = learn.optimizer_of(stage)
  codes, dtype, model = stage.codebook, jnp.dtype(stage.param_dtype), coder.model
  by_gradient = codes.update == "gradient"
  links = [] if by_gradient else [quantize.ema(codes.decay, epsilon=codes.epsilon)]
  if codes.revive_threshold and not by_gradient:
    links.append(quantize.revive(codes.revive_threshold))
  update_codebook = quantize.chain(*links)
  fidelity = coder.fidelity
  suffixes = level_suffixes(len(coder.shapes))
  of_levels = lambda key: [key, *(jax.random.fold_in(key, l) for l in range(1, len(suffixes)))]

  def init(key: jax.Array, context: Any) -> State:
    network_key, codebook_key = jax.random.split(key)
    states = tuple(
      quantize.init(k, codes.num_codes, codes.dim, dtype=dtype) for k in of_levels(codebook_key)
    )
    codebooks = tuple(s.codebook for s in states)
    params = {"network": model.init(network_key, coder.blank, codebooks)["params"]}
    if by_gradient:
      return learn.initial(optimizer, params | {"codebooks": codebooks})
    return learn.initial(optimizer, params, states)

  def codebooks_of(params: Any, states: tuple[quantize.CodebookState, ...]) -> tuple:
    return params["codebooks"] if by_gradient else tuple(s.codebook for s in states)

  def loss(params, states, context, batch, key, *, axis_name):
    x = coder.inputs(batch)
    out = discrete.forward(model, params["network"], codebooks_of(params, states), x)
    terms = discrete.losses(out, x, error=fidelity.error)
    terms = discrete.Losses(*map(metrics.total, terms))
    value = terms.reconstruction.sum / fidelity.scale + stage.beta * terms.commitment.sum
    value += terms.codebook.sum if by_gradient else 0
    totals = {fidelity.name: terms.reconstruction, "commitment": terms.commitment}
    assigned = [(z, q.indices) for z, q in zip(out.z, out.quantized, strict=True)]
    assigned = jax.lax.stop_gradient(assigned)
    return metrics.Total(value, terms.reconstruction.count), (assigned, totals)

  def update(states, assigned, key, *, axis_name):
    candidates = codes.num_codes if len(links) > 1 else 0
    of = {"num_codes": codes.num_codes, "num_candidates": candidates, "axis_name": axis_name}
    stats = [
      quantize.assignment_stats(z, indices, key=k, **of)
      for (z, indices), k in zip(assigned, of_levels(key), strict=True)
    ]
    perplexities = {
      f"perplexity{suffix}": quantize.perplexity(s.counts)
      for suffix, s in zip(suffixes, stats, strict=True)
    }
    return tuple(map(update_codebook, states, stats, of_levels(key))), perplexities

  def learned(state: State, context: Any) -> Tokenizer:
    params, states = learn.learned(state)
    return Tokenizer(params["network"], codebooks_of(params, states))

  counted = functools.partial(metrics.code_counts, num_codes=codes.num_codes)

  def evaluate(trained: Tokenizer, context: Any, batch: Batch) -> dict[str, Any]:
    x, mask = coder.inputs(batch), coder.mask(batch)
    out = discrete.forward(model, *trained, x)
    return {
      "error": fidelity.sums(out.reconstruction, x, batch),
      "counts": [counted(q.indices, mask=mask) for q in out.quantized],
    }

  def figures(sums: dict[str, Any]) -> dict[str, float]:
    values = dict(fidelity.figures(sums["error"]))
    for suffix, counts in zip(suffixes, sums["counts"], strict=True):
      values[f"perplexity{suffix}"] = metrics.perplexity(counts)
      values[f"usage{suffix}"] = metrics.usage(counts)
    return {name: float(value) for name, value in values.items()}

  return Task(
    init=init,
    step=learn.step_of(loss, optimizer, update=update, accumulate=stage.accumulate),
    evaluate=evaluate,
    figures=figures,
    best=f"-{fidelity.name}",
    examples=lambda: stage.examples(run),
    spec=coder.spec,
    learned=learned,
    report=functools.partial(report, coder),
    model=model,
  )


def report(coder: Coder, trained: Tokenizer, examples: Splits) -> Report:
  """Some examples as they are and as they come back, and how often each code is used."""
  split = reported(examples)
  count = min(coder.rows * coder.columns, len(split))
  x = coder.inputs(split.read(np.linspace(0, len(split) - 1, count, dtype=int), None))
  indices = jax.jit(coder.encode)(trained, x)
  counts = [metrics.code_counts(i, num_codes=coder.num_codes) for i in indices]
  usage = {
    f"codebook_usage{suffix}.png": usage_plot(np.asarray(c), float(quantize.perplexity(c)))
    for suffix, c in zip(level_suffixes(len(counts)), counts, strict=True)
  }
  return Report(files=coder.report(trained, x, indices) | usage)
