"""Trains an ML-VAE on groups of images that share a label (vqlab/autoencoders/mlvae.py)."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train import optimizer as optimizers
from train.config import Experiment, TrainingStage, field
from train.data import Split
from train.data.groups import Groups
from train.errors import BadInput
from train.optimizer import State
from train.task import Batch, Task
from train.tasks import augment, mlvae_figures, mlvae_pictures
from vqlab import metrics
from vqlab.autoencoders import mlvae
from vqlab.losses import Bernoulli, Gaussian


@dataclasses.dataclass(frozen=True)
class MLVAEStage(TrainingStage):
  """Networks, groups, objective, and what the held-out figures are."""

  network: Literal["mlp", "conv"] = field("mlp")
  """mlp: fully connected, the paper's for MNIST; conv: convolutional."""
  content_dim: int = field(10, least=1)
  """Of what the images of a group share."""
  style_dim: int = field(10, least=1)
  """Of what each image has of its own."""
  hidden: tuple[int, ...] = field((500,), least=1)
  """Widths of the fully connected layers; conv has one."""
  channels: tuple[int, ...] = field((32, 64), least=1)
  """Of the convolutions, each of which halves the map (network=conv)."""
  likelihood: Literal["bernoulli", "gaussian"] = field("bernoulli")
  """Of a pixel in [0, 1], given content and style."""
  scale: float = field(0.1, least=1e-6)
  """Standard deviation of a pixel in [0, 1] (likelihood=gaussian)."""
  group_size: int = field(10, least=1)
  """Most images of a group, at most batch_size; those of a label that are left over make a smaller
  one."""
  min_group_size: int = field(0, least=0)
  """Fewest images of a training group, whose size is then drawn; 0: group_size."""
  max_shift: int = field(0, least=0)
  """Training images are moved by up to so many pixels, the border repeated."""
  share_content_sample: bool = field(True)
  """One draw of the content a group; else one an image."""
  variance: Literal["product", "harmonic"] = field("product")
  """Of accumulated evidence; harmonic: as disentanglement_lib has it."""
  content_weight: float = field(1.0, least=0)
  """Of the content's KL; 1 and 1 is the ELBO."""
  style_weight: float = field(1.0, least=0)
  """Of the styles' KL."""
  accumulated: tuple[int, ...] = field((1, 2, 4, 8, 16), least=1, may_vary=True)
  """Numbers of images whose evidence is accumulated for the figures; those that not every class has
  are left out."""
  probe_steps: int = field(2000, least=0, may_vary=True)
  """Training steps of the classifiers that tell classes from content and from style; 0: none. Only
  of held-out classes that are those of training."""
  ways: int = field(20, least=2, may_vary=True)
  """Classes an episode of few-shot classification, of held-out classes that training never saw; all
  of them where there are fewer."""
  shots: tuple[int, ...] = field((1, 5, 10), least=1, may_vary=True)
  """Images shown of each class; classes with no more than the most of these are left out."""
  episodes: int = field(1000, least=1, may_vary=True)
  """Over which few-shot accuracies are averaged."""


class Sums(NamedTuple):
  """What an evaluation adds up."""

  elbo: metrics.Total  # of groups, nats
  reconstruction: metrics.Total  # -log-likelihood of images, nats
  content_kl: metrics.Total  # of groups, nats
  style_kl: metrics.Total  # of images, nats
  error_alone: metrics.Total  # squared, of reconstructions by each image's own content
  error_together: metrics.Total  # squared, by the group's content


def images_of(images: jax.Array, dtype: str) -> jax.Array:
  """u8[B, H, W, C] -> [0, 1]."""
  return images.astype(jnp.promote_types(dtype, jnp.float32)) / 255


def model_of(stage: MLVAEStage, image_shape: tuple[int, int, int]) -> mlvae.MLVAE | mlvae.ConvMLVAE:
  """The network that a stage's fields describe.

  Raises:
    BadInput: a field does not fit the network.
  """
  common = {
    "shape": tuple(image_shape),
    "content_dim": stage.content_dim,
    "style_dim": stage.style_dim,
    "likelihood": Bernoulli() if stage.likelihood == "bernoulli" else Gaussian(stage.scale),
    "dtype": jnp.dtype(stage.dtype),
    "param_dtype": jnp.dtype(stage.param_dtype),
  }
  if stage.network == "mlp":
    return mlvae.MLVAE(hidden=stage.hidden, **common)
  if len(stage.hidden) != 1:
    raise BadInput(f"hidden is {stage.hidden}; network=conv has one fully connected layer")
  return mlvae.ConvMLVAE(channels=stage.channels, hidden=stage.hidden[0], **common)


def make(experiment: Experiment, own: str, split: Split, finished: dict[str, Any]) -> Task:
  del finished
  stage: MLVAEStage = getattr(experiment, own)
  if stage.group_size > stage.batch_size:
    raise BadInput(
      f"{own}.group_size is {stage.group_size}; it must be at most batch_size, {stage.batch_size}"
    )
  view = lambda split: Groups(
    split, group_size=stage.group_size, min_group_size=stage.min_group_size or None
  )
  if len(np.unique(view(split).labels())) < 2:
    raise BadInput(f"{split.name} has images of one class; groups need at least 2")
  model = model_of(stage, split.image_shape)
  optimizer = optimizers.make(stage.optimizer, stage.steps)

  def init(key: jax.Array) -> State:
    images = jnp.zeros((1, *split.image_shape), stage.param_dtype)
    params = model.init(key, images)["params"]
    return optimizers.initial(optimizer, params)

  def terms(
    params: dict, images: jax.Array, batch: Batch, key: jax.Array, axis_name: str | None = None
  ) -> tuple[mlvae.Output, mlvae.Losses]:
    num_groups = len(images) * (1 if axis_name is None else jax.lax.axis_size(axis_name))
    output = mlvae.forward(
      model,
      params,
      images,
      batch["group"],
      num_groups,
      key,
      mask=batch.get("mask"),
      index=batch["index"],
      share_content_sample=stage.share_content_sample,
      variance=stage.variance,
      axis_name=axis_name,
    )
    return output, mlvae.losses(model, output, images)

  def gradients(
    state: State, context: tuple, batch: Batch, key: jax.Array, *, axis_name: str | None = None
  ):
    del context
    images = images_of(batch["image"], stage.param_dtype)
    if stage.max_shift:
      # One key an example, by its place in the global batch: the same on any number of devices.
      key, own = jax.random.split(key)
      keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(own, batch["index"])
      images = augment.shifted(images, keys, stage.max_shift)

    def loss(params):
      _, found = terms(params, images, batch, key, axis_name)
      value = mlvae.loss(
        found, content_weight=stage.content_weight, style_weight=stage.style_weight
      )
      rows = jnp.asarray(len(batch["group"]), value.dtype)
      parts = {
        "reconstruction": jnp.sum(found.reconstruction),
        "content_kl": jnp.sum(found.content_kl),
        "style_kl": jnp.sum(found.style_kl),
      }
      return value, (parts, rows, found.groups)

    (value, (parts, rows, groups)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    value, parts, rows, grads = metrics.across((value, parts, rows, grads), axis_name)
    means = {k: v / (groups if k == "content_kl" else rows) for k, v in parts.items()}
    return grads, (value, means)

  def step(state: State, context: tuple, batch: Batch, key: jax.Array, *, axis_name=None):
    key = jax.random.fold_in(key, state.step)
    grads, (value, means) = gradients(state, context, batch, key, axis_name=axis_name)
    state, norm = optimizers.update(optimizer, grads, state)
    return state, {"loss": value, **means, "grad_norm": norm}

  def evaluate(state: State, context: tuple, batch: Batch) -> Sums:
    del context
    mask = batch["mask"]
    images = images_of(batch["image"], stage.param_dtype)
    key = jax.random.fold_in(jax.random.key(0), batch["index"][0])
    output, found = terms(state.params, images, batch, key)
    style = output.posterior.style.mu

    def error(content: jax.Array) -> metrics.Total:
      return metrics.squared_error(
        mlvae.decode(model, state.params, content, style), images, mask=mask
      )

    of_groups = lambda values: metrics.Total(jnp.sum(values), found.groups)
    return Sums(
      elbo=of_groups(mlvae.group_elbo(found, batch["group"], len(images))),
      reconstruction=metrics.total(found.reconstruction, mask=mask),
      content_kl=of_groups(found.content_kl),
      style_kl=metrics.total(found.style_kl, mask=mask),
      error_alone=error(output.posterior.content.mu),
      error_together=error(mlvae.to_members(output.content.mu, batch["group"])),
    )

  def figures(sums: Sums) -> dict[str, float]:
    negative_elbo = -float(sums.elbo.sum) / float(sums.reconstruction.count)
    means = {name: float(metrics.mean(total)) for name, total in sums._asdict().items()}
    return {
      "negative_elbo": negative_elbo,
      "reconstruction_nats": means["reconstruction"],
      "content_kl": means["content_kl"],
      "style_kl": means["style_kl"],
      "mse_alone": means["error_alone"],
      "mse_together": means["error_together"],
    }

  def encode(params: dict, images: jax.Array) -> mlvae.Posterior:
    return mlvae.encode(model, params, images_of(images, stage.param_dtype))

  return Task(
    model=model,
    init=init,
    gradients=gradients,
    step=step,
    evaluate=evaluate,
    figures=figures,
    select="negative_elbo",
    pictures=lambda state, context, split: mlvae_pictures.draw(
      model, state.params, jax.jit(encode), split
    ),
    judged=lambda state, context, train, held_out: mlvae_figures.judge(
      stage, state.params, jax.jit(encode), train, held_out
    ),
    context=(),
    decided_by={
      r"content_": ("content_dim", "hidden"),
      r"style_": ("style_dim", "hidden"),
      r".*": ("network", "hidden", "channels", "content_dim", "style_dim", "data.image_size"),
    },
    example={
      "image": jax.ShapeDtypeStruct(split.image_shape, np.uint8),
      "label": jax.ShapeDtypeStruct((), np.int32),
      "group": jax.ShapeDtypeStruct((), np.int32),
    },
    view=lambda splits: tuple(map(view, splits)),
  )
