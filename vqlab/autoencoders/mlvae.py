"""ML-VAE: a VAE whose observations come in groups (Bouchacourt, Tomioka, Nowozin 2018,
arXiv 1705.08841).

The observations x_1 .. x_n of a group G share a content c; each has a style s_i of its own:

    p(X_G | c, S_G) = prod_i p(x_i | c, s_i)        p(c) = p(s_i) = N(0, I)
    q(c, S_G | X_G) = q(c | X_G) prod_i q(s_i | x_i)
    q(c | X_G)      ~ prod_i N(c; mu_i, Sigma_i)                              (evidence.py)
    ELBO(G) = sum_i E log p(x_i | c, s_i) - sum_i KL(q(s_i | x_i) || p(s))
              - KL(q(c | X_G) || p(c))                                        one KL a group
    loss    = - sum over groups ELBO(G) / number of groups

The loss is divided by the number of groups, not of observations. Whether a group's observations
share one sample of the content or each draws its own is an option; the paper finds both to work.

    model = MLVAE((28, 28, 1))
    params = model.init(key, images)["params"]
    out = forward(model, params, images, group_ids, num_groups, key)
    value = loss(losses(model, out, images))

At test time, also for groups never seen in training, the content of an observation is its own
(strategy 1) or that of all its group's evidence (strategy 2). `swap`, `interpolate` and `generate`
decode contents and styles as `infer` gives them (their `mu` is the most probable one) or as you
like them.

Shapes: N observations, G groups, C content dimensions, S style dimensions, ... of one observation.
"""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqlab.autoencoders.evidence import (
  Normal,
  Variance,
  accumulate,
  across_groups,
  members_of,
  to_members,
)
from vqlab.autoencoders.mlvae_networks import MLVAE, ConvMLVAE, Posterior
from vqlab.losses.elbo import normal_kl
from vqlab.nn import checks
from vqlab.nn.dtypes import at_least_float32

__all__ = [
  "MLVAE",
  "ConvMLVAE",
  "Losses",
  "Normal",
  "Output",
  "Posterior",
  "accumulate",
  "decode",
  "encode",
  "forward",
  "generate",
  "group_elbo",
  "infer",
  "interpolate",
  "loss",
  "losses",
  "swap",
  "to_members",
]


class Output(NamedTuple):
  """What one pass gives."""

  posterior: Posterior  # what each observation tells alone
  content: Normal  # f32[G, C]  what each group tells
  decoded: jax.Array  # [N, ...]  for `model.likelihood`
  group_ids: jax.Array  # i32[N]
  mask: jax.Array  # bool[N]
  members: jax.Array  # f32[G]  observations of each group, over all devices


class Losses(NamedTuple):
  """The three terms of the group ELBO, in nats, for each observation; 0 where it is masked."""

  reconstruction: jax.Array  # f32[N]  -log p(x_i | c, s_i)
  content_kl: jax.Array  # f32[N]  of its group, in equal parts to the members
  style_kl: jax.Array  # f32[N]
  groups: jax.Array  # f32[]  how many have members, over all devices; at least 1


def encode(model: nn.Module, params: dict, x: jax.Array) -> Posterior:
  """What each of the observations [N, ...] tells of its content and style, alone."""
  return model.apply({"params": params}, x, method="encode")


def decode(model: nn.Module, params: dict, content: jax.Array, style: jax.Array) -> jax.Array:
  """The expected observation [..., *shape] of contents [..., C] and styles [..., S].

  Raises:
    ValueError: the sizes are not the model's `content_dim` and `style_dim`, where it tells them.
  """
  content, style = jnp.asarray(content), jnp.asarray(style)
  found = content.shape[-1], style.shape[-1]
  told = getattr(model, "content_dim", found[0]), getattr(model, "style_dim", found[1])
  if found != told:
    raise ValueError(f"content and style have {found} dimensions; the model's have {told}")
  lead = jnp.broadcast_shapes(content.shape[:-1], style.shape[:-1])
  flat = lambda z: jnp.broadcast_to(z, (*lead, z.shape[-1])).reshape(-1, z.shape[-1])
  decoded = model.apply({"params": params}, flat(content), flat(style), method="decode")
  return model.likelihood.mean(decoded).reshape(*lead, *decoded.shape[1:])


def forward(
  model: nn.Module,
  params: dict,
  x: jax.Array,
  group_ids: jax.Array,
  num_groups: int,
  key: jax.Array,
  *,
  mask: jax.Array | None = None,
  index: jax.Array | None = None,
  share_content_sample: bool = True,
  variance: Variance = "product",
  axis_name: str | None = None,
) -> Output:
  """Encodes, accumulates each group's evidence, draws content and styles, and decodes.

  Args:
    x: [N, ...].
    group_ids: int[N], in [0, G).
    num_groups: G, static; groups without members are possible under jit only (`accumulate`).
    key: of what is drawn.
    mask: bool[N]; observations where it is False count for nothing, NaN included.
    index: int[N], numbers of the observations, by which their draws are keyed (those of a shared
      content by the group's number); 0 .. N-1 by default. With numbers in the global batch, what is
      drawn does not depend on how it is spread over devices.
    share_content_sample: one draw of the content a group; else one an observation.
    variance: see `accumulate`.
    axis_name: a mapped axis over which groups extend.

  Raises:
    ValueError: see `accumulate`.
  """
  x = jnp.asarray(x)
  ids, counts = members_of("forward", group_ids, num_groups, len(x), mask)
  present = jnp.ones(len(x), jnp.bool_) if mask is None else jnp.asarray(mask)
  x = _masked(x, present)
  # Any group will do for those that are masked. An id out of range that is not gives NaN.
  ids = jnp.where(present, ids, 0)
  index = jnp.arange(len(x), dtype=jnp.int32) if index is None else index
  posterior = encode(model, params, x)
  content = accumulate(
    *posterior.content, ids, num_groups, mask=present, variance=variance, axis_name=axis_name
  )
  members = across_groups(counts.astype(content.mu.dtype), ids, num_groups, axis_name=axis_name)
  content_key, style_key = jax.random.split(key)
  numbers = ids if share_content_sample else index
  shared = to_members(content, ids)
  c = shared.sample(_noise(content_key, numbers, shared.mu))
  s = posterior.style.sample(_noise(style_key, index, posterior.style.mu))
  decoded = model.apply({"params": params}, c, s, method="decode")
  return Output(posterior, content, decoded, ids, present, members)


def losses(model: nn.Module, output: Output, x: jax.Array) -> Losses:
  """The terms of the objective for each observation; see `Losses`. x: [N, ...]."""
  mask = output.mask
  x = _masked(jnp.asarray(x), mask)
  of_group = normal_kl(*output.content) / jnp.maximum(output.members, 1)
  terms = (
    -model.likelihood.log_prob(output.decoded, x),
    to_members(of_group, output.group_ids),
    normal_kl(*output.posterior.style),
  )
  groups = jnp.sum((output.members > 0).astype(output.members.dtype))
  # Of no group at all, all terms are 0, and so are means over groups.
  return Losses(*(jnp.where(mask, term, 0) for term in terms), jnp.maximum(groups, 1))


def loss(terms: Losses, *, content_weight: float = 1.0, style_weight: float = 1.0) -> jax.Array:
  """- sum of the groups' ELBOs / number of groups, in nats.

  Of observations spread over devices (`axis_name` of `forward`) it is this device's share; the sum
  over devices is the loss, and the sum of its gradients is the gradient: psum them, but under
  `shard_map` with `check_vma`, which sums gradients of replicated params itself.

  Args:
    terms: of `losses`.
    content_weight, style_weight: of the two KL terms; 1 and 1 is the ELBO.
  """
  kl = content_weight * terms.content_kl + style_weight * terms.style_kl
  return jnp.sum(terms.reconstruction + kl) / terms.groups


def group_elbo(
  terms: Losses, group_ids: jax.Array, num_groups: int, *, axis_name: str | None = None
) -> jax.Array:
  """f32[G], the ELBO of each group in nats, by one draw of content and styles."""
  of_member = -(terms.reconstruction + terms.content_kl + terms.style_kl)
  return across_groups(of_member, group_ids, num_groups, axis_name=axis_name)


def infer(
  model: nn.Module,
  params: dict,
  x: jax.Array,
  group_ids: jax.Array | None = None,
  num_groups: int | None = None,
  *,
  mask: jax.Array | None = None,
  variance: Variance = "product",
) -> Posterior:
  """Content and style of observations at test time, by one of the paper's two strategies.

  Args:
    x: [N, ...].
    group_ids: int[N]; None is strategy 1, every observation alone; else strategy 2, the content is
      what all observations of the group tell together.
    num_groups, mask, variance: see `accumulate`.

  Returns:
    Both for each observation, [N, C] and [N, S].
  """
  alone = encode(model, params, x)
  if group_ids is None:
    return alone
  if num_groups is None:
    raise ValueError("infer: num_groups is missing; strategy 2 takes group_ids and num_groups")
  content = accumulate(*alone.content, group_ids, num_groups, mask=mask, variance=variance)
  return Posterior(to_members(content, group_ids), alone.style)


def swap(model: nn.Module, params: dict, content: jax.Array, style: jax.Array) -> jax.Array:
  """Every content [A, C] in every style [B, S]: observations [A, B, ...]."""
  return decode(model, params, content[:, None], style[None])


def interpolate(
  model: nn.Module,
  params: dict,
  start: tuple[jax.Array, jax.Array],
  end: tuple[jax.Array, jax.Array],
  num: int,
  *,
  along: Literal["content", "style"] = "content",
) -> jax.Array:
  """`num` observations on the straight line from one latent to another, the ends included.

  Args:
    start, end: (contents [N, C], styles [N, S]).
    num: at least 2.
    along: what goes from start to end; the other stays that of `start`.

  Returns:
    [N, num, ...].

  Raises:
    ValueError: `num` is less than 2, or `along` none of the two.
  """
  checks.whole_number("interpolate: num", num, least=2)
  if along not in ("content", "style"):
    raise ValueError(f"interpolate: along is {along!r}; it must be 'content' or 'style'")
  moving, other = (0, 1) if along == "content" else (1, 0)
  dtype = at_least_float32(start[moving].dtype, end[moving].dtype)
  a, b = (jnp.asarray(ends[moving]).astype(dtype)[:, None] for ends in (start, end))
  t = jnp.linspace(0, 1, num, dtype=dtype)[:, None]
  latents = [None, None]
  latents[moving] = (1 - t) * a + t * b
  latents[other] = start[other][:, None]
  return decode(model, params, *latents)


def generate(
  model: nn.Module,
  params: dict,
  key: jax.Array,
  num: int,
  *,
  content: jax.Array | None = None,
  style: jax.Array | None = None,
) -> jax.Array:
  """`num` new observations: what is not given is drawn from its prior, the standard normal.

  Args:
    content: [..., C]; `num` new styles for each. None: new ones.
    style: [..., S]; `num` new contents for each. None: new ones.

  Returns:
    [num, *shape] where both are new, [..., num, *shape] where one is given.

  Raises:
    ValueError: both are given (`decode` needs no draws), or `num` is less than 1.
  """
  checks.whole_number("generate: num", num, least=1)
  if content is not None and style is not None:
    raise ValueError("generate: content and style are both given; call decode, nothing is drawn")
  given = content if style is None else style
  lead = () if given is None else given.shape[:-1]
  dtype = jnp.float32 if given is None else at_least_float32(given.dtype)
  content_key, style_key = jax.random.split(key)

  def latent(given: jax.Array | None, key: jax.Array, size: int) -> jax.Array:
    if given is not None:
      return given[..., None, :]
    return jax.random.normal(key, (*lead, num, size), dtype)

  c = latent(content, content_key, model.content_dim)
  return decode(model, params, c, latent(style, style_key, model.style_dim))


def _masked(x: jax.Array, mask: jax.Array) -> jax.Array:
  """Observations [N, ...], 0 where they are masked."""
  return jnp.where(mask.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros((), x.dtype))


def _noise(key: jax.Array, numbers: jax.Array, like: jax.Array) -> jax.Array:
  """Standard normal [N, D], keyed by each observation's number."""
  draw = lambda n: jax.random.normal(jax.random.fold_in(key, n), like.shape[1:], like.dtype)
  return jax.vmap(draw)(numbers)
