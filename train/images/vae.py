"""A VAE with Gaussian latents, trained by the evidence lower bound."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train import learn
from train.codes.pixels import to_bytes
from train.images import latents, likelihood, sheets
from train.images.latents import LatentStage
from train.images.vqvae import spec_of
from train.learn import Learned, State
from train.task import Batch, Report, Run, Splits, Task, reported
from vqlab import metrics
from vqlab.autoencoders import vae


@dataclasses.dataclass(frozen=True)
class VAEStage(LatentStage):
  """A VAE with a standard normal prior."""

  def make(self, run: Run) -> Task:
    shape = tuple(run.about["image_shape"])
    of, dims = likelihood.of(self.likelihood), math.prod(shape)
    model, optimizer = vae.VAE(self.networks(run.about, 2), of), learn.optimizer_of(self)

    def init(key: jax.Array, context: Any) -> State:
      return learn.initial(optimizer, model.init(key, jnp.zeros((1, *shape), jnp.uint8))["params"])

    def loss(params, rest, context, batch, key, *, axis_name):
      terms = vae.elbo(model, params, batch["image"], learn.keys_of(key, batch))
      nats = metrics.total(terms.kl - terms.log_prob)
      bits = metrics.Total(likelihood.bits(nats.sum, dims), nats.count)
      totals = {"image_bits_elbo": bits, "latent_nats": metrics.total(terms.kl)}
      return metrics.Total(nats.sum / dims, nats.count), (rest, totals)

    def evaluate(learned: Learned, context: Any, batch: Batch) -> latents.Sums:
      params, keys = learned.params, latents.eval_keys(batch)
      weights = vae.log_weights(model, params, batch["image"], keys, self.num_samples)
      copies = of.mean(model.apply({"params": params}, batch["image"]))
      return latents.sums_of(weights, copies, batch)

    def report(learned: Learned, examples: Splits) -> Report:
      """Some images as they are and as they come back, and what the prior gives."""
      split, columns = reported(examples), 16 if shape[0] <= 64 else 8
      count = min(4 * columns, len(split))
      images = split.read(np.linspace(0, len(split) - 1, count, dtype=int), None)["image"]
      apply = lambda x, method: model.apply({"params": learned.params}, x, method=method)
      decode = jax.jit(lambda z: of.mean(apply(z, "decode")))
      mu = apply(jnp.asarray(images), "encode").mu
      noise = jax.random.normal(jax.random.key(run.config.seed), mu.shape, mu.dtype)
      copies, drawn = (to_bytes(decode(z), low=0) for z in (mu, noise))
      return Report(
        files={
          "reconstructions.png": sheets.rows(images, copies, columns=columns),
          "samples.png": sheets.sheet(drawn, columns),
        }
      )

    return Task(
      init=init,
      step=learn.step_of(loss, optimizer, accumulate=self.accumulate),
      evaluate=evaluate,
      figures=lambda sums: latents.figures_of(sums, dims),
      best="-image_bits_bound",
      examples=lambda: run.splits,
      spec=spec_of(shape),
      report=report,
      model=model,
    )
