"""Variables of networks for clips from other projects' tensors, and back.

Kernels [O, I, T, H, W] become [T, H, W, I, O], those of images' networks inflated; dense layers
[O, I] become [I, O]; a norm's weight, bias, running_mean and running_var are its scale, bias, mean
and var. `num_batches_tracked` is left aside, and of Caffe2's blobs the optimizer's.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from vqlab import video
from vqlab.interop.state_dict import StateDict
from vqlab.interop.video.layouts import LAYOUTS, Layout
from vqlab.video.inflate import inflate

Path = tuple[str, ...]
_CLASSIFIER = ("head", "fc", "kernel")
# The first convolution, whose inputs are a clip's channels; a factored one before its second part.
_FIRST = ("stem_s", "stem", "slow_stem", "conv1a", "Conv3d_1a_7x7_s", "Conv3d_1a_7x7")


def video_model(name: str, state_dict: Mapping[str, Any]) -> nn.Module:
  """The network that a state dict is of: `video.create(name, ...)` with what its tensors tell.

  That is the number of classes, and what differs where the project's network of this name is not
  quite that of `create`: mmaction2's SlowFast has lateral convolutions without norm, say.

  Raises:
    ValueError: no network has this name, or the tensors are named as in no known layout.
  """
  return _read(name, state_dict)[2]


def layout_of(name: str, state_dict: Mapping[str, Any]) -> Layout:
  """The layout, one of `LAYOUTS[name]`, that a state dict's tensors are named in.

  Raises:
    ValueError: no network has this name, or the tensors are named as in no known layout.
  """
  return _read(name, state_dict)[1]


def convert(
  name: str, state_dict: Mapping[str, Any], *, model: nn.Module | None = None
) -> dict[str, Any]:
  """{"params": ..., "batch_stats": ...} for `model`, or for `video_model(name, state_dict)`.

  Raises:
    ValueError: a tensor is missing, unexpected or of another shape.
  """
  tensors, layout, found = _read(name, state_dict)
  network = model or found
  tensors.ignore(suffix=".num_batches_tracked")
  if layout.project == "Caffe2":
    tensors.ignore(suffix="_momentum")
    tensors.ignore(prefix="lr")
    tensors.ignore(prefix="model_iter")
  key = layout.keys(network)
  firsts = [key(path) for path in _first_kernels()]
  rank = 4 if layout.images else 5
  found = [tensors.shape(first, rank) for first in firsts if first in tensors]
  channels = found[0][-2 if layout.tensorflow else 1] if found else 0
  wanted = flatten_dict(video.variable_shapes(name, network, channels=channels))
  keys = {path: key(path[1:]) for path in wanted}
  if unnamed := [path for path in keys if keys[path] is None and not _is_one(layout, path)]:
    raise ValueError(f"{name}: {layout.project} has no name for {'.'.join(unnamed[0])}")
  tensors.expect([key for key in keys.values() if key is not None])
  variables = {}
  for path, leaf in sorted(wanted.items(), reverse=True):  # params first
    if keys[path] is None:
      variables[path] = np.ones(leaf.shape, np.float32)
    else:
      there, here = _forms(layout, network, path, leaf.shape)
      variables[path] = here(tensors.take(keys[path], there))
  return unflatten_dict(variables)


def to_torch(
  name: str, variables: Mapping[str, Any], *, model: nn.Module, project: str = ""
) -> dict[str, np.ndarray]:
  """The state dict of a network's variables, float arrays by key; the inverse of `from_torch`.

  Args:
    name: of the network, one of `video.names()`.
    variables: {"params", "batch_stats"}.
    model: the network they are of.
    project: whose layout, such as "pytorchvideo" or "torchvision"; "": the first that fits.

  Raises:
    ValueError: an unknown name or project, one whose network of this name is another than the
      model, or variables that are not the model's.
  """
  known = [layout for layout in _layouts(name) if not layout.images]
  fitting = {layout.project: layout for layout in known if not _differing(name, layout, model)}
  layout = fitting.get(project or next(iter(fitting), ""))
  if layout is None:
    others = ", ".join(f"{l.project} ({_differing(name, l, model) or 'fits'})" for l in known)
    raise ValueError(f"to_torch: project is {project!r}; for this {name} there are {others}")
  given = flatten_dict(dict(variables))
  firsts = [given[path].shape[-2] for path in _first_kernels("params") if path in given]
  channels = firsts[0] if firsts else 0
  wanted = flatten_dict(video.variable_shapes(name, model, channels=channels))
  for path, leaf in wanted.items():
    if path not in given or given[path].shape != leaf.shape:
      raise ValueError(f"to_torch: variables are not the model's: {'.'.join(path)} differs")
  tensors = {}
  for path in wanted:
    if (key := layout.keys(model)(path[1:])) is not None:
      array = _back(layout, model, path, np.asarray(given[path]))
      tensors[key] = np.array(array, order="C")  # its own, which may be written to
    elif not _is_one(layout, path):
      raise ValueError(f"to_torch: {layout.project} has no name for {'.'.join(path)}")
  return tensors


def _layouts(name: str) -> tuple[Layout, ...]:
  video.input_shape(name)  # says which names there are
  if name not in LAYOUTS:
    raise ValueError(f"{name}: no weights were published, and so no layout of their tensors")
  return LAYOUTS[name]


def _read(name: str, state_dict: Mapping[str, Any]) -> tuple[StateDict, Layout, nn.Module]:
  """The tensors, whose layout they have, and the network they are of."""
  layouts = _layouts(name)
  if isinstance(state_dict, Mapping) and any("/conv_3d/" in str(key) for key in state_dict):
    plain = lambda key: re.sub(r"^\w+/inception_i3d/|:0$", "", str(key))
    state_dict = {plain(key): value for key, value in state_dict.items()}
  tensors, template = StateDict(state_dict, name), video.create(name, 1)
  heads = {layout.project: layout.keys(template)(_CLASSIFIER) for layout in layouts}
  flat = any(len(shape) == 4 for shape in tensors.shapes())
  for layout in layouts:
    head = heads[layout.project]
    if layout.images == flat and head in tensors and layout.unless not in tensors:
      shape = tensors.shape(head, len(_forms(layout, template, _CLASSIFIER, (1, 1))[0]))
      classes = shape[-1] if layout.tensorflow else shape[0]
      return tensors, layout, video.create(name, classes, **layout.fields)
  known = ", ".join(f"{project} ({key})" for project, key in heads.items())
  raise ValueError(
    f"{name}: the tensors are named as in none of the layouts known for it, each told by its "
    f"classifier: {known}; found {', '.join([*tensors.keys()[:3], '...'])}"
  )


def _first_kernels(*collection: str) -> list[Path]:
  """Where the kernel of the first convolution may be, the likelier first."""
  ends = (("conv", "kernel"), ("kernel",))
  return [(*collection, module, *end) for module in _FIRST for end in ends]


def _differing(name: str, layout: Layout, network: nn.Module) -> str:
  """In which fields a network is not that of a project, as a line; '' where it is."""
  plain = video.create(name, 1)
  fields = {field for other in LAYOUTS[name] for field in other.fields}
  wanted = {field: layout.fields.get(field, getattr(plain, field)) for field in sorted(fields)}
  other = [f for f, value in wanted.items() if getattr(network, f) != value]
  return ", ".join(f"{f} {wanted[f]!r} there, {getattr(network, f)!r} here" for f in other)


def _is_one(layout: Layout, path: Path) -> bool:
  """Whether a leaf is a scale that norms do not have there."""
  return layout.tensorflow and path[-1] == "scale"


def _forms(
  layout: Layout, network: nn.Module, path: Path, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], Callable[[np.ndarray], np.ndarray]]:
  """A leaf's shape there, and what makes of it the leaf here, of a given shape."""
  ones = (1, 1, 1)
  if layout.tensorflow:
    there = {1: (*ones, 1, *shape) if path[-2] == "norm" else shape, 2: (*ones, *shape)}
    return there.get(len(shape), shape), lambda array: array.reshape(shape)
  if len(shape) == 5:
    t, h, w, i, o = shape
    if layout.images:
      return (o, i, h, w), lambda array: inflate(array.transpose(2, 3, 1, 0), t)
    return (o, i, t, h, w), lambda array: array.transpose(2, 3, 4, 1, 0)
  if len(shape) == 2:
    rows = shape[::-1]
    there = (*rows, *ones) if path[-2] in layout.pointwise else rows
    order = _order(layout, network, path, shape[0])
    return there, lambda array: array.reshape(rows).T[order]
  return shape, lambda array: array


def _back(layout: Layout, network: nn.Module, path: Path, array: np.ndarray) -> np.ndarray:
  """A leaf as it is there."""
  there, _ = _forms(layout, network, path, array.shape)
  if layout.tensorflow:
    return array.reshape(there)
  if array.ndim == 5:
    return array.transpose(4, 3, 0, 1, 2)
  if array.ndim == 2:
    order = np.argsort(_order(layout, network, path, array.shape[0]))
    return array[order].T.reshape(there)
  return array


def _order(layout: Layout, network: nn.Module, path: Path, size: int) -> np.ndarray:
  """Which of a dense layer's inputs there each one here is."""
  order = np.arange(size)
  if path[-2] == "fc6":  # maps are flattened as (C, T, H, W) there
    return order.reshape(network.widths[-1][-1], -1).T.reshape(-1)
  if path[-2] == "fc" and layout.fast_first:
    return np.roll(order, -size // (network.beta + 1))
  return order
