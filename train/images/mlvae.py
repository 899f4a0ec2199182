"""Trains an ML-VAE on groups of images that share a label (vqlab/autoencoders/mlvae.py)."""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train import learn
from train.codes.pixels import from_bytes
from train.config import TrainingStage
from train.data import Groups
from train.fields import field
from train.images import augment, mlvae_figures, mlvae_pictures
from train.learn import Learned, State
from train.task import Batch, Report, Run, Splits, Task, reported
from vqlab import metrics
from vqlab.autoencoders import mlvae
from vqlab.losses import Bernoulli, Gaussian


@dataclasses.dataclass(frozen=True)
class MLVAEStage(TrainingStage):
  """Networks, groups, objective, and what the held-out figures are."""

  network: Literal["mlp", "conv"] = field("mlp")
  """mlp: fully connected, the paper's for MNIST; conv: convolutional."""
  content_dim: int = field(10, least=1)
  """Dimensions of the content, which the images of a group share."""
  style_dim: int = field(10, least=1)
  """Dimensions of the style, of which each image has its own."""
  hidden: tuple[int, ...] = field((500,), least=1)
  """Widths of the fully connected layers; conv has one."""
  channels: tuple[int, ...] = field((32, 64), least=1)
  """Channels of the convolutions, each of which halves the map (network=conv)."""
  likelihood: Literal["bernoulli", "gaussian"] = field("bernoulli")
  """Distribution of a pixel in [0, 1], given content and style."""
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
  """Whether a group has one draw of its content; else each of its images has one."""
  variance: Literal["product", "harmonic"] = field("product")
  """How variances of images make that of their group; harmonic: as disentanglement_lib has it."""
  content_weight: float = field(1.0, least=0)
  """Weight of the content's KL; with both weights 1 the objective is the ELBO."""
  style_weight: float = field(1.0, least=0)
  """Weight of the styles' KL."""
  accumulated: tuple[int, ...] = field((1, 2, 4, 8, 16), least=1, may_vary=True)
  """Numbers of images whose evidence is accumulated for the figures; those that not every class has
  are left out."""
  probe_steps: int = field(2000, least=0, may_vary=True)
  """Training steps of the classifiers that tell classes from content and from style; 0: none. Only
  of held-out classes that are those of training."""
  ways: int = field(20, least=2, may_vary=True)
  """Classes that an episode of few-shot classification tells apart, of those that training never
  saw; all of them where there are fewer."""
  shots: tuple[int, ...] = field((1, 5, 10), least=1, may_vary=True)
  """Images shown of each class in few-shot classification; classes with no more than the most of
  these are left out."""
  episodes: int = field(1000, least=1, may_vary=True)
  """Episodes over which few-shot accuracies are averaged."""

  def make(self, run: Run) -> Task:
    if self.group_size > self.batch_size:
      raise ValueError(
        f"group_size is {self.group_size}; it must be at most batch_size, {self.batch_size}"
      )
    if self.accumulate > 1:
      raise ValueError("accumulate must be 1: a part of a batch would cut its groups")
    if run.about["num_classes"] < 2:
      raise ValueError(f"the data have {run.about['num_classes']} classes; groups need at least 2")
    return _task(self, run)


class Sums(NamedTuple):
  """What an evaluation adds up."""

  elbo: metrics.Total  # of groups, nats
  reconstruction_nats: metrics.Total  # -log-likelihood of images
  content_kl: metrics.Total  # of groups, nats
  style_kl: metrics.Total  # of images, nats
  mse_alone: metrics.Total  # of reconstructions by each image's own content
  mse_together: metrics.Total  # by the group's content


def _model(stage: MLVAEStage, shape: tuple[int, int, int]) -> mlvae.MLVAE | mlvae.ConvMLVAE:
  common = {
    "shape": shape,
    "content_dim": stage.content_dim,
    "style_dim": stage.style_dim,
    "likelihood": Bernoulli() if stage.likelihood == "bernoulli" else Gaussian(stage.scale),
    "dtype": jnp.dtype(stage.dtype),
    "param_dtype": jnp.dtype(stage.param_dtype),
  }
  if stage.network == "mlp":
    return mlvae.MLVAE(hidden=stage.hidden, **common)
  if len(stage.hidden) != 1:
    raise ValueError(f"hidden is {stage.hidden}; network=conv has one fully connected layer")
  return mlvae.ConvMLVAE(channels=stage.channels, hidden=stage.hidden[0], **common)


def _task(stage: MLVAEStage, run: Run) -> Task:
  shape = tuple(run.about["image_shape"])
  model, optimizer = _model(stage, shape), learn.optimizer_of(stage)
  images_of = lambda images: from_bytes(images, stage.param_dtype, low=0)

  def init(key: jax.Array, context: Any) -> State:
    images = jnp.zeros((1, *shape), stage.param_dtype)
    return learn.initial(optimizer, model.init(key, images)["params"])

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

  def loss(params, rest, context, batch, key, *, axis_name):
    images = images_of(batch["image"])
    if stage.max_shift:
      key, own = jax.random.split(key)
      images = augment.shifted(images, learn.keys_of(own, batch), stage.max_shift)
    _, found = terms(params, images, batch, key, axis_name)
    weights = {"content_weight": stage.content_weight, "style_weight": stage.style_weight}
    value = mlvae.loss(found._replace(groups=jnp.ones_like(found.groups)), **weights)
    # Groups may lie on several devices, whose shares of their number are equal here.
    devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    of_groups = lambda total: metrics.Total(total, found.groups / devices)
    totals = {
      "reconstruction": metrics.total(found.reconstruction),
      "content_kl": of_groups(jnp.sum(found.content_kl)),
      "style_kl": metrics.total(found.style_kl),
    }
    return of_groups(value), (rest, totals)

  def evaluate(learned: Learned, context: Any, batch: Batch) -> Sums:
    params, mask = learned.params, batch["mask"]
    images = images_of(batch["image"])
    key = jax.random.fold_in(jax.random.key(0), batch["index"][0])
    output, found = terms(params, images, batch, key)
    style = output.posterior.style.mu

    def error(content: jax.Array) -> metrics.Total:
      return metrics.squared_error(mlvae.decode(model, params, content, style), images, mask=mask)

    of_groups = lambda values: metrics.Total(jnp.sum(values), found.groups)
    return Sums(
      elbo=of_groups(mlvae.group_elbo(found, batch["group"], len(images))),
      reconstruction_nats=metrics.total(found.reconstruction, mask=mask),
      content_kl=of_groups(found.content_kl),
      style_kl=metrics.total(found.style_kl, mask=mask),
      mse_alone=error(output.posterior.content.mu),
      mse_together=error(mlvae.to_members(output.content.mu, batch["group"])),
    )

  def figures(sums: Sums) -> dict[str, float]:
    negative_elbo = -float(sums.elbo.sum) / float(sums.reconstruction_nats.count)
    means = {name: float(metrics.mean(total)) for name, total in sums._asdict().items()}
    del means["elbo"]  # a group's; what is reported is an image's
    return {"negative_elbo": negative_elbo, **means}

  @jax.jit
  def encode(params: dict, images: jax.Array) -> mlvae.Posterior:
    return mlvae.encode(model, params, images_of(images))

  def report(learned: Learned, examples: Splits) -> Report:
    params, split = learned.params, reported(examples)
    told = mlvae_figures.judge(stage, params, encode, examples["train"], split)
    return Report(told, mlvae_pictures.draw(model, params, encode, split))

  def groups() -> Splits:
    sizes = {"group_size": stage.group_size, "min_group_size": stage.min_group_size or None}
    return {name: Groups(split, split.labels(), **sizes) for name, split in run.splits.items()}

  return Task(
    init=init,
    step=learn.step_of(loss, optimizer),
    evaluate=evaluate,
    figures=figures,
    best="-negative_elbo",
    examples=functools.cache(groups),
    spec={
      "image": jax.ShapeDtypeStruct(shape, np.uint8),
      "label": jax.ShapeDtypeStruct((), np.int32),
      "group": jax.ShapeDtypeStruct((), np.int32),
    },
    report=report,
    model=model,
  )
