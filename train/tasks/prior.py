"""Trains a PixelCNN over the codes of a frozen VQ-VAE, encoding images inside the step."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train import judge
from train import optimizer as optimizers
from train.config import Experiment, TrainingStage, field
from train.data import Split
from train.errors import BadInput
from train.report import sheet, to_uint8
from train.task import Batch, Finished, Task
from train.tasks.vqvae import Tokenizer, VQVAEStage, images_of, tokenizer
from vqlab import metrics, priors
from vqlab.autoencoders import vqvae

_SAMPLES_AT_ONCE = 128


@dataclasses.dataclass(frozen=True)
class PriorStage(TrainingStage):
  """A gated PixelCNN over the tokenizer's codes."""

  channels: int = field(128, least=1)
  """Width of both stacks."""
  num_layers: int = field(12, least=1)
  kernel_size: int = field(5, least=3)
  hidden: int = field(512, least=1)
  """Width of the layer before the logits."""
  dropout: float = field(0.0, least=0, most=0.99)
  class_conditional: bool = field(True)
  """Learn the codes given the class, where the data has classes."""
  judge_size: int = field(0, least=0)
  """Side to which images are shrunk for the regression that judges samples; 0: no judge."""
  judge_samples: int = field(500, least=1)
  """How many samples are judged."""
  dtype: Literal["float32", "bfloat16", "float64"] = field("float32")
  """Of the computation; logits and losses stay float32 at least."""
  param_dtype: Literal["float32", "float64"] = field("float32")


class State(NamedTuple):
  step: jax.Array  # i32[]
  params: dict[str, Any]
  opt_state: Any


def make(
  experiment: Experiment, stage: PriorStage, split: Split, finished: dict[str, Finished]
) -> Task:
  """The task; its context is the finished stage "tokenizer", or shapes where there is none yet."""
  autoencoder = finished["tokenizer"].model
  context = tokenizer(finished["tokenizer"].state)
  tokens: VQVAEStage = experiment.tokenizer
  num_classes = split.num_classes if stage.class_conditional else 0
  shape = code_shape(tokens, split.image_shape)
  model = priors.PixelCNN(
    num_codes=tokens.codebook.num_codes,
    codes_per_position=tokens.codes_per_position,
    num_classes=num_classes,
    map_shape=shape[:2],
    channels=stage.channels,
    num_layers=stage.num_layers,
    kernel_size=stage.kernel_size,
    hidden=stage.hidden,
    dropout=stage.dropout,
    dtype=jnp.dtype(stage.dtype),
    param_dtype=jnp.dtype(stage.param_dtype),
  )
  optimizer = optimizers.make(stage.optimizer, stage.steps)

  if stage.judge_size > min(split.image_shape[:2]):
    raise BadInput(
      f"prior.judge_size is {stage.judge_size}; the images are {split.image_shape[0]}x"
      f"{split.image_shape[1]}, and they can only be shrunk"
    )

  def labels_of(batch: Batch) -> jax.Array | None:
    return batch["label"] if num_classes else None

  def codes_of(context: Tokenizer, batch: Batch) -> jax.Array:
    images = images_of(batch, tokens.param_dtype)
    return vqvae.encode(autoencoder, context.params, context.codebook, images)

  def init(key: jax.Array) -> State:
    codes = jnp.zeros((1, *shape), jnp.int32)
    cond = jnp.zeros(1, jnp.int32) if num_classes else None
    params = model.init(key, codes, cond)["params"]
    return State(jnp.zeros((), jnp.int32), params, optimizer.init(params))

  def train_logits(params, codes, labels, keys):
    if not stage.dropout:
      return model.apply({"params": params}, codes, labels)

    # One key an example, by its place in the global batch: the same on any number of devices.
    def one(codes, label, key):
      label = None if label is None else label[None]
      rngs = {"dropout": key}
      return model.apply({"params": params}, codes[None], label, train=True, rngs=rngs)[0]

    return jax.vmap(one, in_axes=(0, None if labels is None else 0, 0))(codes, labels, keys)

  def gradients(
    state: State,
    context: Tokenizer,
    batch: Batch,
    key: jax.Array,
    *,
    axis_name: str | None = None,
  ):
    codes, labels = codes_of(context, batch), labels_of(batch)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])

    def loss(params):
      logits = train_logits(params, codes, labels, keys)
      nll = metrics.negative_log_likelihood(logits, codes)
      return nll.sum / metrics.across(nll.count, axis_name)

    value, grads = jax.value_and_grad(loss)(state.params)
    value, grads = metrics.across((value, grads), axis_name)
    return grads, value

  def step(state: State, context: Tokenizer, batch: Batch, key: jax.Array, *, axis_name=None):
    key = jax.random.fold_in(key, state.step)
    grads, value = gradients(state, context, batch, key, axis_name=axis_name)
    params, opt_state, norm = optimizers.apply(optimizer, grads, state.opt_state, state.params)
    return State(state.step + 1, params, opt_state), {"loss": value, "grad_norm": norm}

  def evaluate(state: State, context: Tokenizer, batch: Batch) -> metrics.Total:
    codes = codes_of(context, batch)
    logits = model.apply({"params": state.params}, codes, labels_of(batch))
    return metrics.negative_log_likelihood(logits, codes, mask=batch["mask"])

  def figures(nll: metrics.Total) -> dict[str, float]:
    nats = float(metrics.mean(nll))
    bits = metrics.bits_per_dim(
      nats, codes_per_example=int(np.prod(shape)), dims_per_example=int(np.prod(split.image_shape))
    )
    uniform = float(np.log(tokens.codebook.num_codes))
    return {"nats_per_code": nats, "uniform_nats": uniform, "bits_per_dim": bits}

  def samples(state: State, context: Tokenizer, labels: np.ndarray) -> np.ndarray:
    key = jax.random.key(experiment.seed)
    parts = draw(model, state.params, autoencoder, context, key, shape, labels)
    return np.concatenate([images for _, images in parts])

  def pictures(state: State, context: Tokenizer, split: Split) -> dict[str, np.ndarray]:
    columns, rows = 10, min(num_classes or 10, 20)
    labels = np.repeat(np.arange(rows, dtype=np.int32), columns)
    return {"samples": sheet(samples(state, context, labels), columns)}

  def judged(state: State, context: Tokenizer, train: Split, held_out: Split) -> dict[str, float]:
    if not stage.judge_size or num_classes < 2:
      return {}
    labels = np.arange(stage.judge_samples, dtype=np.int32) % num_classes
    return judge.class_accuracy(
      train, held_out, samples(state, context, labels), labels, size=stage.judge_size
    )

  return Task(
    model=model,
    init=init,
    gradients=gradients,
    step=step,
    evaluate=evaluate,
    figures=figures,
    select="nats_per_code",
    pictures=pictures,
    judged=judged,
    context=context,
    decided_by=DECIDED_BY,
  )


DECIDED_BY = {
  r"positions": ("data.image_size", "tokenizer.num_downsamples"),
  r"embed|out_": ("tokenizer.codebook.num_codes", "tokenizer.codes_per_position", "hidden"),
  r"labels": ("class_conditional", "data.path"),
  r"layers_\d": ("channels", "num_layers", "kernel_size"),
  r"to_hidden": ("channels", "hidden"),
}


def code_shape(tokens: VQVAEStage, image_shape: tuple[int, ...]) -> tuple[int, ...]:
  """(h, w), or (h, w, G) where there are G > 1 codes a position."""
  height, width = (side // 2**tokens.num_downsamples for side in image_shape[:2])
  groups = (tokens.codes_per_position,) if tokens.codes_per_position > 1 else ()
  return (height, width, *groups)


def draw(
  model: priors.PixelCNN,
  params: dict[str, Any],
  autoencoder: vqvae.VQVAE,
  context: Tokenizer,
  key: jax.Array,
  shape: tuple[int, ...],
  labels: np.ndarray,
  **options: Any,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Samples, some at a time, as (codes i32[b, *shape], images u8[b, H, W, C]).

  Args:
    shape: of an example's codes.
    labels: i32[B], the class of each sample; only its length matters to an unconditional model.
    options: temperature, top_k, top_p of `priors.sample`.
  """
  decode = jax.jit(vqvae.decode, static_argnums=0)
  for first in range(0, len(labels), _SAMPLES_AT_ONCE):
    some = labels[first : first + _SAMPLES_AT_ONCE]
    size = min(_SAMPLES_AT_ONCE, len(labels))  # one compiled shape; what is too much is cut off
    cond = np.pad(some, (0, size - len(some))) if model.num_classes else None
    codes = priors.sample(
      key, model, params, (size, *shape), cond=cond, first_index=first, **options
    )
    images = decode(autoencoder, context.params, context.codebook, codes)
    yield np.asarray(codes)[: len(some)], to_uint8(images)[: len(some)]
