"""Images by the probabilities of their bytes, in bits a dimension."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from train.task import Batch
from vqlab import losses, metrics

Name = Literal["logistic", "categorical"]


def of(name: Name) -> losses.ByteLikelihood:
  """A discretised logistic, or a categorical with 256 logits, a byte."""
  return losses.DiscretizedLogistic() if name == "logistic" else losses.CategoricalBytes()


def bits(nats: Any, dims: int) -> Any:
  """Nats an example in bits a dimension."""
  return nats / (math.log(2) * dims)


def bytes_of(images: jax.Array) -> jax.Array:
  """Images as networks read them, in [-1/2, 1/2], as the bytes that they were."""
  return jnp.rint((images + 0.5) * 255).astype(jnp.int32)


def error_sums(mean: jax.Array, images: jax.Array, batch: Batch) -> metrics.Total:
  """The squared error of what is shown, both as networks read them."""
  return metrics.squared_error(jnp.clip(mean, -0.5, 0.5), images, mask=batch["mask"])


def error_figures(sums: metrics.Total) -> dict[str, Any]:
  return {"mse": metrics.mean(sums), "psnr": metrics.psnr(sums)}
