"""Weights published for other frameworks, as variables of vqlab's networks.

    variables = from_torch("inception_v3", torch.load(path, weights_only=True))
    out = features.InceptionV3().apply(variables, images)

Every tensor is read by its key and must have the shape that is expected; one that is missing, left
over or of another shape is an error that names it. No other framework is imported: NumPy arrays
will do, and so will tensors.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqlab.interop import haiku, inception, pixelsnail, video, vqvae2
from vqlab.interop.pixelsnail import model_of as pixelsnail_model
from vqlab.interop.state_dict import StateDict, conv_kernel, conv_transpose_kernel, to_numpy
from vqlab.interop.video import to_torch, video_model
from vqlab.video import names as video_names


def from_torch(
  name: str, state_dict: Mapping[str, Any], *, model: nn.Module | None = None
) -> dict[str, Any]:
  """Variables from a PyTorch state dict; keys may begin with "module.", as DataParallel's do.

  Args:
    name: what the state dict is of, and so what the variables are for:
      "vqvae2": rosinality/vq-vae-2-pytorch's VQVAE -> {"params", "codebooks"} for
        `autoencoders.vqvae2.VQVAE2`, see `vqlab/interop/vqvae2.py`.
      "pixelsnail": its PixelSNAIL -> {"params"} for the `priors.PixelSNAIL` that
        `pixelsnail_model(state_dict)` gives, or for `model`.
      "inception_v3": pytorch-fid's and torch-fidelity's Inception -> {"params", "batch_stats"} for
        `features.InceptionV3`.
      one of `video.names()`, as torchvision, pytorchvideo, PySlowFast (its Caffe2 blobs, too),
        mmaction2, kenshohara's 3D-ResNets, piergiaj's or hassony2's I3D name their tensors ->
        {"params", "batch_stats"} for the network that `video_model(name, state_dict)` gives, or
        for `model`; see `vqlab/interop/video`. `to_torch` goes back.
    state_dict: arrays or tensors by key.
    model: of "pixelsnail" and of networks for clips alone, the module that the variables must be
      for. Where None, sizes are read off the tensors: of "pixelsnail" all, so that a state dict
      whose last blocks or layers are all missing is one of a smaller model, which cannot be seen;
      of networks for clips the number of classes.

  Raises:
    ValueError: an unknown name, or a state dict that does not fit (the model, where it is given).
  """
  converters = {
    "inception_v3": inception.convert,
    "pixelsnail": pixelsnail.convert,
    "vqvae2": vqvae2.convert,
  }
  if name in video_names():
    return _arrays(video.convert(name, state_dict, model=model))
  convert = _chosen("from_torch", name, converters)
  if model is None:
    return _arrays(convert(state_dict))
  if name != "pixelsnail":
    raise ValueError(f"from_torch: model is for 'pixelsnail' and clips; {name!r} takes none")
  return _arrays(convert(state_dict, model=model))


def from_haiku(name: str, params: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
  """Variables from a Haiku model's parameters and state.

  Args:
    name: what they are of:
      "vector_quantizer": `hk.nets.VectorQuantizerEMA` or `hk.nets.VectorQuantizer` -> CodebookState
        with which training goes on as it would have.
      "vqvae": the network of Sonnet's and Haiku's VQ-VAE example -> {"params", "codebooks"} for
        `autoencoders.vqvae2.VQVAE2` with one level, see `vqlab/interop/haiku.py`.
    params, state: arrays by module path and name, as `hk.transform_with_state` gives them.

  Raises:
    ValueError: an unknown name, or parameters that do not fit.
  """
  converters = {"vector_quantizer": haiku.convert_quantizer, "vqvae": haiku.convert_vqvae}
  return _arrays(_chosen("from_haiku", name, converters)(params, state))


def from_tensorflow(
  name: str, variables: Mapping[str, Any], *, model: nn.Module | None = None
) -> dict[str, Any]:
  """Variables from DeepMind's I3D, arrays by TensorFlow name -> those of `video.create(name, ...)`.

  Args:
    name: "i3d" or "i3d_flow".
    variables: such as RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w, also without the first two words,
      as its Kinetics-600 checkpoint has them. Their norms have no scale: it is 1.
    model: the module the result must be for; None: `video_model(name, variables)`.

  Raises:
    ValueError: another name or layout; a variable that is missing, unexpected or of another shape.
  """
  _chosen("from_tensorflow", name, dict.fromkeys(("i3d", "i3d_flow")))
  layout = video.layout_of(name, variables)
  if not layout.tensorflow:
    raise ValueError(f"from_tensorflow: these are named as {layout.project}'s; see from_torch")
  return _arrays(video.convert(name, variables, model=model))


def _chosen(function: str, name: str, converters: dict[str, Any]) -> Any:
  if name not in converters:
    known = ", ".join(repr(known) for known in sorted(converters))
    if function == "from_torch":
      known += " or one of video.names()"
    raise ValueError(f"{function}: name is {name!r}; it must be one of {known}")
  return converters[name]


def _arrays(tree: Any) -> Any:
  """JAX arrays, float32 at least: weights stored in half precision are parameters like others."""

  def one(x: Any) -> jax.Array:
    x = np.asarray(x)
    half = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4
    return jnp.asarray(x.astype(np.float32) if half else x)

  return jax.tree.map(one, tree)


__all__ = [
  "StateDict",
  "conv_kernel",
  "conv_transpose_kernel",
  "from_haiku",
  "from_tensorflow",
  "from_torch",
  "pixelsnail_model",
  "to_numpy",
  "to_torch",
  "video_model",
]
