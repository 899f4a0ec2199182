"""Trains a VQ-VAE on images: the tokenizer of everything that models codes."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train import optimizer as optimizers
from train.config import Experiment, TrainingStage, field
from train.data import Split
from train.report import sheet, to_uint8, usage_plot
from train.task import Batch, Task
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


@dataclasses.dataclass(frozen=True)
class VQVAEStage(TrainingStage):
  """A VQ-VAE; the defaults are the paper's (arXiv 1711.00937) but for the codebook's EMA."""

  channels: int = field(256, least=1)
  """Width of the convolutions."""
  residual_channels: int = field(256, least=1)
  """Width inside the residual blocks."""
  num_residual_blocks: int = field(2, least=0)
  num_downsamples: int = field(2, least=1)
  """Strided convolutions; each halves height and width."""
  codes_per_position: int = field(1, least=1)
  """Codes at each position of the latent map."""
  codebook: Codebook = field(Codebook())
  beta: float = field(0.25, least=0)
  """Weight of the commitment loss."""
  data_variance: float = field(0.0, least=0)
  """Divides the squared error; 0: the variance of the first 1,024 training images."""
  dtype: Literal["float32", "bfloat16", "float64"] = field("float32")
  """Of the computation; codes, statistics and losses stay float32 at least."""
  param_dtype: Literal["float32", "float64"] = field("float32")


class State(NamedTuple):
  """What training changes. Under gradients the codebook is a leaf of params, else a state."""

  step: jax.Array  # i32[]
  params: dict[str, Any]  # {"network": ..., and "codebook": [K, D] under gradients}
  opt_state: Any
  codebook: quantize.CodebookState | None


class Tokenizer(NamedTuple):
  """What later stages need of a trained VQ-VAE."""

  params: dict[str, Any]
  codebook: jax.Array  # [K, D]


def tokenizer(state: State) -> Tokenizer:
  """The trained arrays, for `vqvae.encode` and `vqvae.decode`."""
  return Tokenizer(state.params["network"], _codebook(state.params, state.codebook))


def _codebook(params: dict[str, Any], state: quantize.CodebookState | None) -> jax.Array:
  return params["codebook"] if state is None else state.codebook


def images_of(batch: Batch, dtype: str) -> jax.Array:
  """The batch's images in [-0.5, 0.5]."""
  dtype = jnp.promote_types(dtype, jnp.float32)
  return batch["image"].astype(dtype) / 255 - 0.5


def make_model(stage: VQVAEStage, image_channels: int) -> vqvae.VQVAE:
  return vqvae.VQVAE(
    image_channels=image_channels,
    channels=stage.channels,
    residual_channels=stage.residual_channels,
    num_residual_blocks=stage.num_residual_blocks,
    num_downsamples=stage.num_downsamples,
    code_dim=stage.codebook.dim,
    codes_per_position=stage.codes_per_position,
    dtype=jnp.dtype(stage.dtype),
    param_dtype=jnp.dtype(stage.param_dtype),
  )


def make(experiment: Experiment, stage: VQVAEStage, split: Split, finished: dict[str, Any]) -> Task:
  """The task; `split` is the training split, for the images' shape and variance."""
  del experiment, finished
  model = make_model(stage, split.image_shape[-1])
  optimizer = optimizers.make(stage.optimizer, stage.steps)
  codes, dtype = stage.codebook, jnp.dtype(stage.param_dtype)
  by_gradient = codes.update == "gradient"
  links = [] if by_gradient else [quantize.ema(codes.decay, epsilon=codes.epsilon)]
  if codes.revive_threshold and not by_gradient:
    links.append(quantize.revive(codes.revive_threshold))
  update_codebook = quantize.chain(*links)
  variance = stage.data_variance or _variance(split)

  def init(key: jax.Array) -> State:
    network_key, codebook_key = jax.random.split(key)
    params = {
      "network": model.init(network_key, jnp.zeros((1, *split.image_shape), dtype))["params"]
    }
    codebook = quantize.init(codebook_key, codes.num_codes, codes.dim, dtype=dtype)
    if by_gradient:
      params["codebook"], codebook = codebook.codebook, None
    return State(jnp.zeros((), jnp.int32), params, optimizer.init(params), codebook)

  def gradients(
    state: State, context: tuple, batch: Batch, key: jax.Array, *, axis_name: str | None = None
  ):
    del context, key
    images = images_of(batch, stage.param_dtype)
    count = metrics.across(jnp.asarray(images.shape[0], images.dtype), axis_name)

    def loss(params):
      out = vqvae.forward(model, params["network"], _codebook(params, state.codebook), images)
      terms = jax.tree.map(lambda x: jnp.sum(x) / count, vqvae.losses(out, images))
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
    stats = quantize.assignment_stats(
      out.z,
      out.quantized.indices,
      num_codes=codes.num_codes,
      key=key,
      num_candidates=codes.num_codes if len(links) > 1 else 0,
      axis_name=axis_name,
    )
    codebook = state.codebook if by_gradient else update_codebook(state.codebook, stats, key)
    return State(state.step + 1, params, opt_state, codebook), {
      "loss": total,
      "mse": terms.reconstruction,
      "commitment": terms.commitment,
      "perplexity": quantize.perplexity(stats.counts),
      "grad_norm": norm,
    }

  def evaluate(state: State, context: tuple, batch: Batch) -> dict[str, Any]:
    del context
    images, trained = images_of(batch, stage.param_dtype), tokenizer(state)
    out = vqvae.forward(model, trained.params, trained.codebook, images)
    counts = metrics.code_counts(
      out.quantized.indices, num_codes=codes.num_codes, mask=batch["mask"]
    )
    reconstruction = jnp.clip(out.reconstruction, -0.5, 0.5)
    return {
      "error": metrics.squared_error(reconstruction, images, mask=batch["mask"]),
      "counts": counts,
    }

  def pictures(state: State, context: tuple, split: Split) -> dict[str, np.ndarray]:
    del context
    columns = 16
    images, _ = split.gather(np.arange(min(4 * columns, len(split))))
    trained = tokenizer(state)
    out = jax.jit(vqvae.forward, static_argnums=0)(
      model, trained.params, trained.codebook, images_of({"image": images}, stage.param_dtype)
    )
    counts = metrics.code_counts(out.quantized.indices, num_codes=codes.num_codes)
    both = np.stack([images, to_uint8(out.reconstruction)])  # rows of originals over rows of copies
    rows = [x for i in range(0, len(images), columns) for x in both[:, i : i + columns]]
    full = [
      np.concatenate([r, np.full((columns - len(r), *r.shape[1:]), 255, np.uint8)]) for r in rows
    ]
    return {
      "reconstructions": sheet(np.concatenate(full), columns),
      "codebook_usage": usage_plot(np.asarray(counts), float(quantize.perplexity(counts))),
    }

  return Task(
    model=model,
    init=init,
    gradients=gradients,
    step=step,
    evaluate=evaluate,
    figures=_figures,
    select="mse",
    pictures=pictures,
    judged=lambda state, context, train, held_out: {},
    context=(),
    decided_by=DECIDED_BY,
  )


DECIDED_BY = {
  r"codebook": ("codebook.num_codes", "codebook.dim", "codebook.update"),
  r"to_codes|from_codes": ("codebook.dim", "codes_per_position"),
  r"(down|up)_\d": ("num_downsamples", "channels"),
  r"_blocks_\d": ("num_residual_blocks", "residual_channels"),
}


def _figures(sums: dict[str, Any]) -> dict[str, float]:
  return {
    "mse": float(metrics.mean(sums["error"])),
    "psnr": float(metrics.psnr(sums["error"])),
    "perplexity": float(metrics.perplexity(sums["counts"])),
    "usage": float(metrics.usage(sums["counts"])),
  }


def _variance(split: Split) -> float:
  images, _ = split.gather(np.arange(min(1024, len(split))))
  return max(float(np.var(images / 255.0)), 1e-6)
