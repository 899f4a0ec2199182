"""Autoencoders whose bottleneck is codes: one shape, of one level or a hierarchy, of any data.

    x -> z_l -> q_l = nearest codes to z_l -> x'           for the levels l = 1 .. L, top first
    loss = |x' - x|^2 + sum over l of |sg[z_l] - q_l|^2 + beta |z_l - sg[q_l]|^2

    params = model.init(key, x, codebooks)["params"]
    out = forward(model, params, codebooks, x)
    terms = losses(out, x)
    codes = encode(model, params, codebooks, x)
    x = decode(model, params, codebooks, codes)            # or codes[:1]: what the top alone says

The networks are a Linen module; the codebooks are arguments, a tuple with one a level: leaves of
your params when gradients train them, `CodebookState.codebook` when statistics do. `VQVAE` and
`VQVAE2` are such modules, and so is any other that has

    __call__(x, codebooks, *, estimator) -> Output
    quantize(x, codebooks, *, estimator) -> (z, quantized)     tuples, top first; nothing is decoded
    decode(vectors) -> x      vectors of every level, top first; a single one, [D], stands at every
                              position of its level's map. The top's is always a map.
                              (Not where x is drawn: see vqvae_audio.speak.)
    num_levels                L
    map_shapes(*size) -> the shape of an example's codes at every level, top first

Shapes: B batch, ... positions of a level's map, D code dimension, K_l codes of a level.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqlab import quantize


class Output(NamedTuple):
  """What one pass gives; tuples hold one value a level, top first."""

  reconstruction: jax.Array  # of x's shape, or what tells x's distribution
  z: tuple[jax.Array, ...]  # [B, ..., D]  the vectors before quantization
  quantized: tuple[quantize.Quantized, ...]  # of z


class Losses(NamedTuple):
  """The three terms of the objective, one value an example; the last two are summed over levels."""

  reconstruction: jax.Array  # [B]  squared error, or another, mean over the example's values
  codebook: jax.Array  # [B]  mean over positions; its gradient reaches only the codebooks
  commitment: jax.Array  # [B]  mean over positions; its gradient reaches only what z is made by


def forward(
  model: nn.Module,
  params: dict,
  codebooks: Sequence[jax.Array],
  x: jax.Array,
  *,
  estimator: quantize.Estimator = quantize.straight_through,
) -> Output:
  """Encodes, quantizes and decodes. codebooks: [K_l, D], top first."""
  return model.apply({"params": params}, x, tuple(codebooks), estimator=estimator)


def squared_error(reconstruction: jax.Array, x: jax.Array) -> jax.Array:
  """(x' - x)^2 of every value."""
  return jnp.square(reconstruction - x.astype(reconstruction.dtype))


def losses(
  output: Output, x: Any, *, error: Callable[[jax.Array, Any], jax.Array] = squared_error
) -> Losses:
  """The terms of the objective for each example; see `Losses`.

  Args:
    error: of a reconstruction and x: of every value of the example, [B, ...].
  """
  mean = lambda values: jnp.mean(values, axis=tuple(range(1, values.ndim)))

  def summed(loss) -> jax.Array:
    levels = zip(output.z, output.quantized, strict=True)
    first, *others = (mean(loss(z, q.codes, reduction="none")) for z, q in levels)
    return sum(others, first)

  return Losses(
    reconstruction=mean(error(output.reconstruction, x)),
    codebook=summed(quantize.codebook_loss),
    commitment=summed(quantize.commitment_loss),
  )


def encode(
  model: nn.Module, params: dict, codebooks: Sequence[jax.Array], x: jax.Array
) -> tuple[jax.Array, ...]:
  """The codes of x at every level, i32[B, ...], top first."""
  _, quantized = model.apply({"params": params}, x, tuple(codebooks), method="quantize")
  return tuple(q.indices for q in quantized)


def decode(
  model: nn.Module, params: dict, codebooks: Sequence[jax.Array], codes: Sequence[jax.Array]
) -> jax.Array:
  """x from codes as `encode` gives them.

  Codes of the lowest levels may be left out: what the upper ones alone say is decoded with the mean
  of a missing level's codebook at every position.

  Raises:
    ValueError: no codes, or of more levels than the model has.
  """
  if not 1 <= len(codes) <= model.num_levels:
    raise ValueError(
      f"{type(model).__name__}: codes of {len(codes)} levels; the model has {model.num_levels}"
    )
  vectors = [quantize.lookup(codebook, c) for codebook, c in zip(codebooks, codes, strict=False)]
  vectors += [jnp.mean(codebook, axis=0) for codebook in codebooks[len(codes) :]]
  return model.apply({"params": params}, vectors, method="decode")


def check(name: str, codebooks: Sequence[jax.Array], *, levels: int, dim: int) -> None:
  """Raises ValueError unless there is a codebook [K, dim] a level."""
  if len(codebooks) != levels:
    raise ValueError(
      f"{name}: {len(codebooks)} codebooks for {levels} levels; give a tuple of [K, {dim}]"
    )
  for l, codebook in enumerate(codebooks):
    if codebook.ndim != 2 or codebook.shape[1] != dim:
      raise ValueError(
        f"{name}: codebook {l} has shape {list(codebook.shape)}; expected [K, {dim}]"
      )
