"""Trains an autoencoder with codebooks, of one level or several: the tokenizer of later stages.

What differs from paper to paper is a `Network` and its config, see vqvae.py and vqvae2.py.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from train import optimizer as optimizers
from train.config import TrainingStage, field
from train.data import Split
from train.report import sheet, to_uint8, usage_plot
from train.task import Batch, Task
from vqlab import metrics, quantize
from vqlab.autoencoders import vqvae, vqvae2


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


@dataclasses.dataclass(frozen=True)
class TokenizerStage(TrainingStage):
  """What every tokenizer has."""

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
  """Divides the squared error; 0: the variance of the first training images, at most 1,024."""


class State(NamedTuple):
  """What training changes. Under gradients the codebooks are leaves of params, else states."""

  step: jax.Array  # i32[]
  params: dict[str, Any]  # {"network": ..., and "codebooks": ([K, D], ...) under gradients}
  opt_state: Any
  codebooks: tuple[quantize.CodebookState, ...] | None  # one a level, top first


class Tokenizer(NamedTuple):
  """What later stages need of a trained tokenizer."""

  params: dict[str, Any]
  codebooks: tuple[jax.Array, ...]  # [K, D] of every level, top first


_PIXELS = 2**26  # values from which the variance of the data is estimated

Codes = tuple[jax.Array, ...]  # i32[B, *shape] of every level, top first


class Network(NamedTuple):
  """An autoencoder as functions of its parameters and the codebooks of all its levels."""

  model: nn.Module
  shapes: tuple[tuple[int, ...], ...]  # of an example's codes at every level, top first
  num_codes: tuple[int, ...]  # K of every level
  init: Callable[[jax.Array, tuple[jax.Array, ...]], dict]  # (key, codebooks) -> params
  # (params, codebooks, images) -> the pass, and the loss terms an example
  forward: Callable[..., tuple[vqvae2.Output, vqvae.Losses]]
  encode: Callable[[dict, tuple[jax.Array, ...], jax.Array], Codes]
  # (params, codebooks, codes of all levels or of the first ones) -> images
  decode: Callable[[dict, tuple[jax.Array, ...], Codes], jax.Array]
  dtype: Any  # of the images

  def images(self, batch: Batch) -> jax.Array:
    """The batch's images in [-0.5, 0.5]."""
    return batch["image"].astype(jnp.promote_types(self.dtype, jnp.float32)) / 255 - 0.5


def tokenizer(state: State) -> Tokenizer:
  """The trained arrays, for a network's `encode` and `decode`."""
  return Tokenizer(state.params["network"], _codebooks(state.params, state.codebooks))


def _codebooks(params: dict, states: tuple[quantize.CodebookState, ...] | None) -> tuple:
  return params["codebooks"] if states is None else tuple(s.codebook for s in states)


def level_names(count: int) -> tuple[str, ...]:
  """What levels are called, top first."""
  if count <= 3:
    return (("",), ("top", "bottom"), ("top", "middle", "bottom"))[count - 1]
  return tuple(f"level{l}" for l in range(count))


def level_suffixes(count: int) -> tuple[str, ...]:
  """What the names of levels' figures end in, top first; nothing where there is one level."""
  return tuple(f"_{name}" if name else "" for name in level_names(count))


def make(
  stage: TokenizerStage, network: Network, split: Split, decided_by: Mapping[str, Sequence[str]]
) -> Task:
  """The task; `split` is the training split, for the images' shape and variance."""
  optimizer = optimizers.make(stage.optimizer, stage.steps)
  codes, dtype = stage.codebook, jnp.dtype(stage.param_dtype)
  by_gradient = codes.update == "gradient"
  links = [] if by_gradient else [quantize.ema(codes.decay, epsilon=codes.epsilon)]
  if codes.revive_threshold and not by_gradient:
    links.append(quantize.revive(codes.revive_threshold))
  update_codebook = quantize.chain(*links)
  variance = stage.data_variance or _variance(split)
  suffixes = level_suffixes(len(network.shapes))

  def init(key: jax.Array) -> State:
    network_key, codebook_key = jax.random.split(key)
    keys = [codebook_key, *(jax.random.fold_in(codebook_key, l) for l in range(1, len(suffixes)))]
    states = tuple(quantize.init(k, codes.num_codes, codes.dim, dtype=dtype) for k in keys)
    codebooks = tuple(s.codebook for s in states)
    params = {"network": network.init(network_key, codebooks)}
    if by_gradient:
      params["codebooks"], states = codebooks, None
    return State(jnp.zeros((), jnp.int32), params, optimizer.init(params), states)

  def gradients(
    state: State, context: tuple, batch: Batch, key: jax.Array, *, axis_name: str | None = None
  ):
    del context, key
    images = network.images(batch)
    count = metrics.across(jnp.asarray(images.shape[0], images.dtype), axis_name)

    def loss(params):
      out, terms = network.forward(params["network"], _codebooks(params, state.codebooks), images)
      terms = jax.tree.map(lambda x: jnp.sum(x) / count, terms)
      total = terms.reconstruction / variance + stage.beta * terms.commitment
      total += terms.codebook if by_gradient else 0
      return total, (total, terms, out)

    grads, (total, terms, out) = jax.grad(loss, has_aux=True)(state.params)
    grads, total, terms = metrics.across((grads, total, terms), axis_name)
    return grads, (total, terms, out)

  def step(state: State, context: tuple, batch: Batch, key: jax.Array, *, axis_name=None):
    key = jax.random.fold_in(key, state.step)
    grads, (total, terms, out) = gradients(state, context, batch, key, axis_name=axis_name)
    params, opt_state, norm = optimizers.apply(optimizer, grads, state.opt_state, state.params)
    keys = [key, *(jax.random.fold_in(key, l) for l in range(1, len(suffixes)))]
    stats = [
      quantize.assignment_stats(
        z,
        quantized.indices,
        num_codes=codes.num_codes,
        key=k,
        num_candidates=codes.num_codes if len(links) > 1 else 0,
        axis_name=axis_name,
      )
      for z, quantized, k in zip(out.z, out.quantized, keys, strict=True)
    ]
    codebooks = state.codebooks
    if not by_gradient:
      codebooks = tuple(map(update_codebook, codebooks, stats, keys))
    perplexities = {
      f"perplexity{suffix}": quantize.perplexity(s.counts)
      for suffix, s in zip(suffixes, stats, strict=True)
    }
    return State(state.step + 1, params, opt_state, codebooks), {
      "loss": total,
      "mse": terms.reconstruction,
      "commitment": terms.commitment,
      **perplexities,
      "grad_norm": norm,
    }

  def counts_of(out: vqvae2.Output, mask: jax.Array | None = None) -> list[jax.Array]:
    return [
      metrics.code_counts(q.indices, num_codes=codes.num_codes, mask=mask) for q in out.quantized
    ]

  def evaluate(state: State, context: tuple, batch: Batch) -> dict[str, Any]:
    del context
    images = network.images(batch)
    out, _ = network.forward(*tokenizer(state), images)
    reconstruction = jnp.clip(out.reconstruction, -0.5, 0.5)
    return {
      "error": metrics.squared_error(reconstruction, images, mask=batch["mask"]),
      "counts": counts_of(out, batch["mask"]),
    }

  def figures(sums: dict[str, Any]) -> dict[str, float]:
    values = {"mse": metrics.mean(sums["error"]), "psnr": metrics.psnr(sums["error"])}
    for suffix, counts in zip(suffixes, sums["counts"], strict=True):
      values[f"perplexity{suffix}"] = metrics.perplexity(counts)
      values[f"usage{suffix}"] = metrics.usage(counts)
    return {name: float(value) for name, value in values.items()}

  def pictures(state: State, context: tuple, split: Split) -> dict[str, np.ndarray]:
    del context
    columns = 16 if split.image_shape[0] <= 64 else 8
    images, _ = split.gather(
      np.linspace(0, len(split) - 1, min(4 * columns, len(split)), dtype=int)
    )
    trained = tokenizer(state)
    out, _ = jax.jit(network.forward)(*trained, network.images({"image": images}))
    indices = tuple(q.indices for q in out.quantized)
    decode = jax.jit(network.decode)
    partial = [decode(*trained, indices[:l]) for l in range(1, len(suffixes))]
    usage = dict(zip(suffixes, counts_of(out), strict=True))
    return {
      # Originals, what the top alone says, the first two levels, ..., all of them.
      "reconstructions": rows(
        images, *map(to_uint8, (*partial, out.reconstruction)), columns=columns
      ),
      **{
        f"codebook_usage{suffix}": usage_plot(
          np.asarray(counts), float(quantize.perplexity(counts))
        )
        for suffix, counts in usage.items()
      },
    }

  size = split.image_shape
  return Task(
    model=network.model,
    init=init,
    gradients=gradients,
    step=step,
    evaluate=evaluate,
    figures=figures,
    select="mse",
    pictures=pictures,
    judged=lambda state, context, train, held_out: {},
    context=(),
    decided_by=decided_by,
    example={
      "image": jax.ShapeDtypeStruct(size, np.uint8),
      "label": jax.ShapeDtypeStruct((), np.int32),
    },
  )


def rows(*sets: np.ndarray, columns: int) -> np.ndarray:
  """Sets of images u8[N, H, W, C] on a sheet: a row of the first over the same of the others."""
  stacked = np.stack(sets)
  blank = np.full((len(sets), -stacked.shape[1] % columns, *stacked.shape[2:]), 255, np.uint8)
  stacked = np.concatenate([stacked, blank], axis=1)
  lines = [stacked[:, i : i + columns] for i in range(0, stacked.shape[1], columns)]
  return sheet(np.concatenate([image for line in lines for image in line]), columns)


def _variance(split: Split) -> float:
  """Of the pixels, in units of the images' range; of fewer images where they are large."""
  count = max(16, min(1024, _PIXELS // int(np.prod(split.image_shape))))
  total = squares = size = 0  # whole numbers: exact, whatever the parts
  for first in range(0, min(count, len(split)), 16):
    part = split.gather(np.arange(first, min(first + 16, count, len(split))))[0].astype(np.int64)
    total, squares, size = total + part.sum(), squares + np.square(part).sum(), size + part.size
  mean = int(total) / size
  return max((int(squares) / size - mean**2) / 255**2, 1e-6)
