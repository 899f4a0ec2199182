"""VAEs with categorical latents: trained by VIMCO, or through Gumbel-softmax.

Both are tokenizers, whose codes are the most probable ones: priors learn them as they learn a
VQ-VAE's, and log p(x | codes) + log p(codes) is a bound of log p(x) for them as it is for it.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from train import learn
from train.codes import tokenizer
from train.codes.tokenizer import Coder, Tokenizer, TokenizerStage
from train.fields import field
from train.images import latents, likelihood
from train.images.latents import LatentStage
from train.images.vqvae import coder_of
from train.learn import State
from train.task import Batch, Run, Task
from vqlab import losses, metrics, quantize
from vqlab.autoencoders import categorical_vae, discrete
from vqlab.autoencoders.categorical_vae import CategoricalVAE


class Sums(NamedTuple):
  """What an evaluation adds up."""

  bounds: latents.Sums
  given: metrics.Total  # log p(x | codes), nats
  counts: jax.Array  # f32[K]


@dataclasses.dataclass(frozen=True)
class _CategoricalStage(LatentStage, TokenizerStage):
  """What both have; a subclass gives `nats`."""

  num_codes: int = field(512, least=2)
  """K, values of a latent; 2: they are Bernoulli."""
  code_dim: int = field(64, least=1)
  """Of the vectors that the decoder reads."""

  def coder(self, about: dict[str, Any]) -> Coder:
    of = likelihood.of(self.likelihood)
    model = CategoricalVAE(self.networks(about, self.num_codes), of)
    mean = lambda decoded: of.mean(decoded) - 0.5
    coder = coder_of(model, about, self.num_codes, self.param_dtype, mean=mean, takes_bytes=True)
    return coder._replace(nats=lambda decoded, x: -of.log_prob(decoded, x))

  def first(self) -> Any:
    """What changes over time besides the parameters, before the first step."""
    return ()

  def nats(
    self, model: CategoricalVAE, trained: Tokenizer, images: jax.Array, keys: jax.Array, rest: Any
  ) -> jax.Array:
    """What is made small, [B]."""
    raise NotImplementedError

  def next(self, rest: Any) -> tuple[Any, dict[str, jax.Array]]:
    """`rest` after a step, and what is measured of it."""
    return rest, {}

  def make(self, run: Run) -> Task:
    coder, optimizer = self.coder(run.about), learn.optimizer_of(self)
    model, dims = coder.model, coder.dims
    uniform = likelihood.bits(math.prod(coder.shapes[0]) * math.log(self.num_codes), dims)
    trained_of = lambda params: Tokenizer(params["network"], params["codebooks"])

    def init(key: jax.Array, context: Any) -> State:
      network_key, codebook_key = jax.random.split(key)
      dtype = jnp.dtype(self.param_dtype)
      state = quantize.init(codebook_key, self.num_codes, self.code_dim, dtype=dtype)
      codebooks = (state.codebook,)
      params = {"network": model.init(network_key, coder.blank, codebooks)["params"]}
      return learn.initial(optimizer, params | {"codebooks": codebooks}, self.first())

    def loss(params, rest, context, batch, key, *, axis_name):
      keys = learn.keys_of(key, batch)
      nats = metrics.total(self.nats(model, trained_of(params), batch["image"], keys, rest))
      return metrics.Total(nats.sum / dims, nats.count), ((), {})

    def update(rest, given, key, *, axis_name):
      return self.next(rest)

    def evaluate(trained: Tokenizer, context: Any, batch: Batch) -> Sums:
      images, mask = batch["image"], batch["mask"]
      drawn = categorical_vae.draw(
        model, *trained, images, latents.eval_keys(batch), self.num_samples
      )
      out = discrete.forward(model, *trained, images)
      (indices,) = (q.indices for q in out.quantized)
      return Sums(
        latents.sums_of(drawn.log_weights, model.likelihood.mean(out.reconstruction), batch),
        metrics.total(model.likelihood.log_prob(out.reconstruction, images), mask=mask),
        metrics.code_counts(indices, num_codes=self.num_codes, mask=mask),
      )

    def figures(sums: Sums) -> dict[str, float]:
      given = float(likelihood.bits(-metrics.mean(sums.given), dims))
      return latents.figures_of(sums.bounds, dims) | {
        "image_bits_given_codes": given,
        "image_bits_uniform": given + uniform,
        "perplexity": float(metrics.perplexity(sums.counts)),
        "usage": float(metrics.usage(sums.counts)),
      }

    return Task(
      init=init,
      step=learn.step_of(loss, optimizer, update=update, accumulate=self.accumulate),
      evaluate=evaluate,
      figures=figures,
      best="-image_bits_bound",
      examples=lambda: run.splits,
      spec=coder.spec,
      learned=lambda state, context: trained_of(learn.learned(state).params),
      report=functools.partial(tokenizer.report, coder),
      model=model,
    )


@dataclasses.dataclass(frozen=True)
class VIMCOStage(_CategoricalStage):
  """Trained by VIMCO (Mnih and Rezende 2016, arXiv 1602.06725): the bound of `num_samples`."""

  def nats(self, model, trained, images, keys, rest):
    drawn = categorical_vae.draw(model, *trained, images, keys, self.num_samples)
    return -losses.vimco(drawn.log_weights, drawn.log_q)


@dataclasses.dataclass(frozen=True)
class GumbelStage(_CategoricalStage):
  """Trained through Gumbel-softmax (Jang et al. 2017, arXiv 1611.01144)."""

  temperature: float = field(1.0, least=1e-3)
  """Of the relaxed latents at the first step."""
  final_temperature: float = field(0.5, least=1e-3)
  """At the last step; in between it falls, or rises, by a part of itself a step."""

  def first(self) -> jax.Array:
    return jnp.zeros((), jnp.int32)  # steps

  def temperature_at(self, step: jax.Array) -> jax.Array:
    """f32[]"""
    part = jnp.minimum(step.astype(jnp.float32) / max(self.steps - 1, 1), 1)
    return self.temperature * (self.final_temperature / self.temperature) ** part

  def nats(self, model, trained, images, keys, rest):
    temperature = self.temperature_at(rest)
    terms = categorical_vae.relaxed_elbo(model, *trained, images, keys, temperature)
    return terms.kl - terms.log_prob

  def next(self, rest):
    return rest + 1, {"temperature": self.temperature_at(rest)}
