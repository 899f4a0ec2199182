"""Trains an autoencoder with codebooks, of one level or several: the tokenizer of later stages.

What differs from subject to subject is a `Coder`: the network, and how data go in and come out.
"""

import dataclasses
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
from vqlab.autoencoders import vqvae


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


class Coder(NamedTuple):
  """An autoencoder with codebooks, and how a kind of data goes in and comes out."""

  model: nn.Module  # as vqlab.autoencoders.vqvae takes it
  shapes: tuple[tuple[int, ...], ...]  # of an example's codes at every level, top first
  num_codes: int  # K of every level
  spec: dict[str, Any]  # one example's shapes and types
  blank: jax.Array  # what `inputs` gives of one example
  inputs: Callable[[Batch], jax.Array]  # a batch as the model takes it
  outputs: Callable[[Any], np.ndarray]  # what the model gives, as the data are stored
  show: Callable[..., dict[str, Any]]  # (name, *sets of outputs, columns) -> files, see `Report`
  columns: int  # examples side by side, where many are shown

  def encode(self, trained: Tokenizer, x: jax.Array) -> tuple[jax.Array, ...]:
    """The codes of all levels."""
    return vqvae.encode(self.model, *trained, x)

  def decode(self, trained: Tokenizer, codes: tuple[jax.Array, ...]) -> jax.Array:
    """What the model gives for codes of all levels, or of the first ones."""
    return vqvae.decode(self.model, *trained, codes)

  @property
  def dims(self) -> int:
    """Values of an example, to which rates in bits are referred."""
    return self.blank.size


@dataclasses.dataclass(frozen=True)
class TokenizerStage(TrainingStage):
  """What every tokenizer has; a subclass gives its `coder`."""

  channels: int = field(128, least=1)
  """Width of the convolutions."""
  residual_channels: int = field(64, least=1)
  """Width inside the residual blocks."""
  num_residual_blocks: int = field(2, least=0)
  codebook: Codebook = field(Codebook())
  """Of every level."""
  beta: float = field(0.25, least=0)
  """Weight of the commitment loss."""
  data_variance: float = field(0.0, least=0)
  """Divides the squared error; 0: the variance of the first training examples, at most 1,024."""

  def coder(self, about: dict[str, Any]) -> Coder:
    """For data of which the source says this."""
    raise NotImplementedError

  def make(self, run: Run) -> Task:
    return _task(self, self.coder(run.about), run)


def level_suffixes(count: int) -> tuple[str, ...]:
  """What the names of levels' figures end in, top first; nothing where there is one level."""
  if count <= 3:
    return (("",), ("_top", "_bottom"), ("_top", "_middle", "_bottom"))[count - 1]
  return tuple(f"_level{l}" for l in range(count))


def _task(stage: TokenizerStage, coder: Coder, run: Run) -> Task:
  optimizer = learn.optimizer_of(stage)
  codes, dtype, model = stage.codebook, jnp.dtype(stage.param_dtype), coder.model
  by_gradient = codes.update == "gradient"
  links = [] if by_gradient else [quantize.ema(codes.decay, epsilon=codes.epsilon)]
  if codes.revive_threshold and not by_gradient:
    links.append(quantize.revive(codes.revive_threshold))
  update_codebook = quantize.chain(*links)
  variance = stage.data_variance or run.about["variance"]
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
    out = vqvae.forward(model, params["network"], codebooks_of(params, states), x)
    terms = vqvae.Losses(*map(metrics.total, vqvae.losses(out, x)))
    value = terms.reconstruction.sum / variance + stage.beta * terms.commitment.sum
    value += terms.codebook.sum if by_gradient else 0
    totals = {"mse": terms.reconstruction, "commitment": terms.commitment}
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

  def counts_of(out: vqvae.Output, mask: jax.Array | None = None) -> list[jax.Array]:
    return [
      metrics.code_counts(q.indices, num_codes=codes.num_codes, mask=mask) for q in out.quantized
    ]

  def evaluate(trained: Tokenizer, context: Any, batch: Batch) -> dict[str, Any]:
    x = coder.inputs(batch)
    out = vqvae.forward(model, *trained, x)
    reconstruction = jnp.clip(out.reconstruction, -0.5, 0.5)
    return {
      "error": metrics.squared_error(reconstruction, x, mask=batch["mask"]),
      "counts": counts_of(out, batch["mask"]),
    }

  def figures(sums: dict[str, Any]) -> dict[str, float]:
    values = {"mse": metrics.mean(sums["error"]), "psnr": metrics.psnr(sums["error"])}
    for suffix, counts in zip(suffixes, sums["counts"], strict=True):
      values[f"perplexity{suffix}"] = metrics.perplexity(counts)
      values[f"usage{suffix}"] = metrics.usage(counts)
    return {name: float(value) for name, value in values.items()}

  def report(trained: Tokenizer, examples: Splits) -> Report:
    """Originals over what the top alone says, the first two levels, ..., all of them."""
    split = reported(examples)
    count = min(4 * coder.columns, len(split))
    batch = split.read(np.linspace(0, len(split) - 1, count, dtype=int), None)
    out = jax.jit(lambda trained, x: vqvae.forward(model, *trained, x))(
      trained, x := coder.inputs(batch)
    )
    indices, decode = tuple(q.indices for q in out.quantized), jax.jit(coder.decode)
    partial = [decode(trained, indices[:l]) for l in range(1, len(suffixes))]
    rows = map(coder.outputs, (x, *partial, out.reconstruction))
    usage = {
      f"codebook_usage{suffix}.png": usage_plot(np.asarray(c), float(quantize.perplexity(c)))
      for suffix, c in zip(suffixes, counts_of(out), strict=True)
    }
    return Report(files=coder.show("reconstructions", *rows, columns=coder.columns) | usage)

  return Task(
    init=init,
    step=learn.step_of(loss, optimizer, update=update, accumulate=stage.accumulate),
    evaluate=evaluate,
    figures=figures,
    best="-mse",
    examples=lambda: run.splits,
    spec=coder.spec,
    learned=learned,
    report=report,
    model=model,
  )
