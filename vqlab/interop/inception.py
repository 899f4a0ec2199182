"""The Inception-v3 of pytorch-fid and torch-fidelity -> `vqlab.features.InceptionV3`.

Both publish the weights of `inception-2015-12-05` under one set of keys (their files are named
pt_inception-2015-12-05 and weights-inception-2015-12-05):

    Conv2d_1a_3x3.conv.weight, Conv2d_1a_3x3.bn.{weight,bias,running_mean,running_var}, ...
    Mixed_5b.branch1x1.conv.weight, ...      fc.{weight,bias}

`num_batches_tracked` and the head `AuxLogits` of training, which torchvision's state dicts have as
well, are left aside. torchvision's own weights have 1000 classes: they fit the keys but are of
another network (see `vqlab/features/inception.py`), and are refused by the shape of `fc`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqlab.features.inception import InceptionV3
from vqlab.interop.state_dict import StateDict, conv_kernel


def convert(state_dict: Mapping[str, Any]) -> dict[str, Any]:
  """{"params": ..., "batch_stats": ...}.

  Raises:
    ValueError: a tensor is missing, unexpected or of another shape.
  """
  tensors = StateDict(state_dict, "inception_v3")
  tensors.ignore(prefix="AuxLogits.")
  tensors.ignore(suffix=".num_batches_tracked")
  images = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
  wanted = jax.eval_shape(InceptionV3().init, jax.random.key(0), images)

  def read(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
    *modules, leaf = path
    module = ".".join(modules)
    if leaf == "fc_bias":
      return tensors.take("fc.bias", shape)
    if modules == ["fc"]:
      return tensors.take("fc.weight", shape[::-1]).T
    if leaf == "kernel":
      height, width, into, out = shape
      return conv_kernel(tensors.take(f"{module}.weight", (out, into, height, width)))
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return tensors.take(f"{module}.{names[leaf]}", shape)

  def walk(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
      name: walk(value, (*path, name))
      if isinstance(value, Mapping)
      else read((*path, name), value.shape)
      for name, value in tree.items()
    }

  variables = {collection: walk(tree) for collection, tree in wanted.items()}
  tensors.done()
  return variables
