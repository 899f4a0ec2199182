"""Haiku's vector quantizers, and the network of its VQ-VAE example.

`hk.nets.VectorQuantizerEMA` keeps `embeddings` [D, K] and, for counts and sums, `hidden` (the
average before debiasing), `average` (after) and `counter`. `CodebookState` keeps what is hidden and
the step, so with `quantize.ema(decay, unused="zero")` training goes on number for number.

The example's network (Sonnet's, and Haiku's copy of it), for CIFAR-10 with 128 channels,

    encoder   enc_1 4x4 stride 2 (64), enc_2 4x4 stride 2 (128), enc_3 3x3, residual stack
              (res3x3_i, res1x1_i), to_vq 1x1
    decoder   dec_1 3x3, residual stack, dec_2 4x4 transposed (64), dec_3 4x4 transposed (3)

is VQ-VAE-2 with one level, not `autoencoders.vqvae.VQVAE`, which has no enc_3:

    variables = from_haiku("vqvae", params, state)
    model = VQVAE2(residual_channels=32, downsamples=(2,))
    forward(model, variables["params"], [variables["codebooks"][0].codebook], images)

Modules are known by the last part of their path, and those of the residual stacks by "encoder" or
"decoder" in it. Weights of Sonnet itself (TensorFlow) have the same shapes, but TensorFlow's
transposed convolutions turn the kernel around: turn `w` of dec_2 and dec_3 in both axes first.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqlab.interop.state_dict import StateDict, to_numpy
from vqlab.quantize import CodebookState

Tree = Mapping[str, Mapping[str, Any]]


def convert_quantizer(params: Tree, state: Tree) -> CodebookState:
  """The one vector quantizer that parameters and state hold; other modules are left aside.

  Of the quantizer that is trained by gradients, counts, sums and step are 0.

  Raises:
    ValueError: there is none, or more than one, or its arrays do not fit each other.
  """
  modules = {**params, **state}
  found = [path for path, module in modules.items() if "embeddings" in module]
  if len(found) != 1:
    raise ValueError(
      f"vector_quantizer: one module must hold 'embeddings'; found {found or 'none'} among "
      f"{', '.join(sorted(modules)[:8]) or 'no modules'}"
    )
  path = found[0]
  tensors = StateDict(
    {
      f"{other.removeprefix(path).removeprefix('/~/')}.{name}".removeprefix("."): value
      for other, module in modules.items()
      if other == path or other.startswith(f"{path}/~/")
      for name, value in module.items()
    },
    "vector_quantizer",
  )
  dim, num_codes = tensors.shape("embeddings", 2)
  codebook = tensors.take("embeddings", (dim, num_codes)).T
  if path in params:  # trained by gradients
    tensors.done()
    zeros = np.zeros(codebook.shape, np.float32)
    return CodebookState(codebook, zeros[:, 0], zeros, np.int32(0))

  def average(name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    tensors.take(f"{name}.average", shape)  # follows from the other two
    return tensors.take(f"{name}.hidden", shape), int(
      tensors.take(f"{name}.counter", (), integer=True)
    )

  counts, step = average("ema_cluster_size", (num_codes,))
  sums, other_step = average("ema_dw", (dim, num_codes))
  tensors.done()
  if step != other_step:
    raise ValueError(f"vector_quantizer: the two counters are {step} and {other_step}; one step?")
  return CodebookState(codebook, counts, sums.T, np.int32(step))


def convert_vqvae(params: Tree, state: Tree) -> dict[str, Any]:
  """{"params": ..., "codebooks": (CodebookState,)}; sizes are read off the arrays.

  Raises:
    ValueError: an array is missing, unexpected or of another shape.
  """
  flat: dict[str, Any] = {}
  for path, module in params.items():
    *above, last = path.split("/")
    if "embeddings" in module:
      continue
    if last.startswith("res"):
      sides = [side for side in ("encoder", "decoder") if any(side in part for part in above)]
      last = "/".join([*sides, last])
    for name, value in module.items():
      if f"{last}.{name}" in flat:
        raise ValueError(f"vqvae: two modules are called {last}, one of them {path}")
      flat[f"{last}.{name}"] = to_numpy(value)
  tensors = StateDict(flat, "vqvae")
  codebook = convert_quantizer(params, state)
  code_dim = codebook.codebook.shape[1]
  image_channels, half = tensors.shape("enc_1.w", 4)[2:]
  channels = tensors.shape("enc_3.w", 4)[3]
  blocks = 0
  while f"encoder/res3x3_{blocks}.w" in tensors:
    blocks += 1
  inner = tensors.shape("encoder/res3x3_0.w", 4)[3] if blocks else 0

  def conv(key: str, out: int, into: int, size: int) -> dict[str, np.ndarray]:
    kernel = tensors.take(f"{key}.w", (size, size, into, out))
    # Linen's Dense is Haiku's 1x1 convolution.
    return {"kernel": kernel[0, 0] if size == 1 else kernel, "bias": bias(key, out)}

  def transposed(key: str, out: int, into: int) -> dict[str, np.ndarray]:
    kernel = tensors.take(f"{key}.w", (4, 4, out, into)).transpose(0, 1, 3, 2)
    return {"kernel": kernel, "bias": bias(key, out)}

  def bias(key: str, out: int) -> np.ndarray:
    return tensors.take(f"{key}.b", (out,))

  def residual(side: str) -> dict[str, Any]:
    return {
      f"block_{i}": {
        "Conv_0": conv(f"{side}/res3x3_{i}", inner, channels, 3),
        "Dense_0": conv(f"{side}/res1x1_{i}", channels, inner, 1),
      }
      for i in range(blocks)
    }

  converted = {
    "encoders_0": {
      "down_0": conv("enc_1", half, image_channels, 4),
      "down_1": conv("enc_2", channels, half, 4),
      "conv": conv("enc_3", channels, channels, 3),
      **residual("encoder"),
    },
    "to_codes_0": conv("to_vq", code_dim, channels, 1),
    "decoders_0": {
      "conv": conv("dec_1", channels, code_dim, 3),
      **residual("decoder"),
      "up_0": transposed("dec_2", half, channels),
      "up_1": transposed("dec_3", image_channels, half),
    },
  }
  tensors.done()
  return {"params": converted, "codebooks": (codebook,)}
