"""Fine-tuning: what a network begins as, and what of it stays as it is."""

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from train.errors import BadInput
from vqlab.nn import BatchNorm

if TYPE_CHECKING:
  from train.video.classify import VideoStage

Variables = dict[str, Any]  # {"params", "batch_stats"}
_CLASSIFIER = ("params", "head", "fc")


def network_of(folder: str) -> tuple[nn.Module, Variables]:
  """The network of a finished run of `fit` or `import`, and what it learned, on the host.

  Raises:
    BadInput: it is no such run.
  """
  from train import run
  from train.video.classify import VideoStage
  from train.video.imported import Imported

  done = run.load(folder)
  if any(isinstance(found.stage, Imported) for found in done.stages.values()):
    found = done.the(Imported)
    return found.model, found.learned
  found = done.the(VideoStage)
  learned = {"params": found.learned.params, "batch_stats": found.learned.rest}
  return found.model.network, learned


def check_same(network: nn.Module, other: nn.Module, *, new_head: bool) -> None:
  """Raises BadInput unless the other's weights are for the network, but for the classifier."""
  may_differ = {"dropout", "head", "pool", "dtype", "param_dtype", "momentum", "parent", "name"}
  may_differ |= {"num_classes"} if new_head else set()
  if type(network) is not type(other):
    differ = [f"{type(other).__name__}, not {type(network).__name__}"]
  else:
    differ = [
      f"{name} {getattr(other, name)}, not {getattr(network, name)}"
      for name in network.__dataclass_fields__
      if name not in may_differ and getattr(other, name) != getattr(network, name)
    ]
  if differ:
    raise BadInput(
      f"start_from: another network ({'; '.join(differ)}); set network to the one that is there, "
      "network.layout included, or new_head where the classes differ"
    )


def merged(made: Variables, start: Variables, *, new_head: bool) -> Variables:
  """A network's variables: those of `start`, and what a new classifier was made."""
  there = flatten_dict(start)
  keep = lambda path: new_head and path[:3] == _CLASSIFIER
  return unflatten_dict(
    {
      path: leaf if keep(path) else there[path].astype(leaf.dtype)
      for path, leaf in flatten_dict(made).items()
    }
  )


class Still(NamedTuple):
  """What of a network no training moves."""

  params: Any  # a tree of bools
  norms: frozenset[tuple[str, ...]]  # paths of norms that normalize by their running statistics
  has_norms: bool

  @property
  def any(self) -> bool:
    return any(jax.tree.leaves(self.params))

  def stopped(self, params: Any) -> Any:
    """The parameters, of which no gradient reaches those that stay: nor is it computed."""
    return jax.tree.map(
      lambda x, still: jax.lax.stop_gradient(x) if still else x, params, self.params
    )

  @contextlib.contextmanager
  def normalizing(self) -> Iterator[None]:
    """In it, norms that stay normalize as they do in evaluation."""

    def call(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
      if isinstance(context.module, BatchNorm) and context.module.path in self.norms:
        kwargs = {**kwargs, "train": False}
      return function(*args, **kwargs)

    with nn.intercept_methods(call):
      yield


def still(stage: "VideoStage", model: nn.Module, clip: jax.ShapeDtypeStruct) -> Still:
  """What a stage's `freeze` and `norms` say of a network for a clip.

  Raises:
    ValueError: the pattern is none, or no parameter's path has it.
  """
  norms: list[tuple[str, ...]] = []

  def note(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
    if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
      norms.append(context.module.path)
    return function(*args, **kwargs)

  with nn.intercept_methods(note):
    params = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), clip)["params"])
  try:
    pattern = re.compile(stage.freeze)
  except re.error as error:
    raise ValueError(f"freeze is {stage.freeze!r}, no regular expression ({error})") from None
  frozen = {path for path in params if stage.freeze and pattern.search("/".join(path))}
  if stage.freeze and not frozen:
    some = ", ".join("/".join(path) for path in list(params)[:3])
    raise ValueError(f"freeze is {stage.freeze!r}, which is in no path; paths are {some}, ...")
  kept = set({"all": [], "first": norms[1:], "none": norms}[stage.norms])
  kept |= {path for path in norms if any(p[:-1] == path for p in frozen)}
  stays = {path: path in frozen or path[:-1] in kept for path in params}
  return Still(unflatten_dict(stays), frozenset(kept), bool(norms))


def moments(stats: Any) -> Any:
  """Of a batch's statistics: means and mean squares, which add up over batches."""
  flat = flatten_dict(stats)
  return unflatten_dict(
    {k: x + jnp.square(flat[(*k[:-1], "mean")]) if k[-1] == "var" else x for k, x in flat.items()}
  )


def settled(stats: Any, sums: Any, still: Still, batches: int) -> Any:
  """Running statistics from the sums of `moments` over batches (PySlowFast's precise ones)."""
  mean = {path: x / batches for path, x in flatten_dict(sums).items()}
  variance = lambda k: jnp.maximum(mean[k] - jnp.square(mean[(*k[:-1], "mean")]), 0)
  of = lambda k: variance(k) if k[-1] == "var" else mean[k]
  return unflatten_dict(
    {k: x if k[:-1] in still.norms else of(k) for k, x in flatten_dict(stats).items()}
  )
