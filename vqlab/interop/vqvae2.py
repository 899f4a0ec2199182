"""rosinality/vq-vae-2-pytorch's VQVAE -> `vqlab.autoencoders.vqvae2.VQVAE2` with two levels.

    variables = from_torch("vqvae2", state_dict)
    model = VQVAE2(residual_channels=32)                       # the defaults of its train_vqvae.py
    books = [state.codebook for state in variables["codebooks"]]               # top, bottom
    top, bottom = encode(model, variables["params"], books, images)            # images in [-1, 1]

Its codebooks are buffers: `embed` [D, K] and the averages `cluster_size` and `embed_avg`. These are
not debiased, which `ema` does by 1 - decay^step; so `step` is set to where that is 1. With
`quantize.ema(0.99, unused="zero")` training goes on as in PyTorch; with the default a code that is
not used stays, where PyTorch throws it far away.

Letters: C channels, R channels inside residual blocks, D code dimension, K codes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqlab.interop.state_dict import StateDict, conv_kernel, conv_transpose_kernel
from vqlab.quantize import CodebookState

# Batches after which debiasing is over in float32, for decays up to 0.99998: that^1e6 is 2e-9.
_MANY_STEPS = 1_000_000


def convert(state_dict: Mapping[str, Any]) -> dict[str, Any]:
  """{"params": ..., "codebooks": (top, bottom)}; sizes are read off the tensors.

  Raises:
    ValueError: a tensor is missing, unexpected or of another shape.
  """
  tensors = StateDict(state_dict, "vqvae2")
  half, image_channels, *_ = tensors.shape("enc_b.blocks.0.weight", 4)
  channels = tensors.shape("enc_b.blocks.4.weight", 4)[0]
  code_dim = tensors.shape("quantize_conv_t.weight", 4)[0]
  blocks = 0
  while f"enc_b.blocks.{5 + blocks}.conv.1.weight" in tensors:
    blocks += 1
  inner = tensors.shape("enc_b.blocks.5.conv.1.weight", 4)[0] if blocks else 0

  def conv(key: str, out: int, into: int, size: int) -> dict[str, np.ndarray]:
    kernel = conv_kernel(tensors.take(f"{key}.weight", (out, into, size, size)))
    # Linen's Dense is its 1x1 convolution.
    return {"kernel": kernel[0, 0] if size == 1 else kernel, "bias": bias(key, out)}

  def transposed(key: str, out: int, into: int) -> dict[str, np.ndarray]:
    kernel = conv_transpose_kernel(tensors.take(f"{key}.weight", (into, out, 4, 4)))
    return {"kernel": kernel, "bias": bias(key, out)}

  def bias(key: str, out: int) -> np.ndarray:
    return tensors.take(f"{key}.bias", (out,))

  def residual(prefix: str, first: int) -> dict[str, Any]:
    return {
      f"block_{i}": {
        "Conv_0": conv(f"{prefix}.{first + i}.conv.1", inner, channels, 3),
        "Dense_0": conv(f"{prefix}.{first + i}.conv.3", channels, inner, 1),
      }
      for i in range(blocks)
    }

  def codebook(key: str) -> CodebookState:
    num_codes = tensors.shape(f"{key}.embed", 2)[1]
    embed, average = (
      tensors.take(f"{key}.{name}", (code_dim, num_codes)).T for name in ("embed", "embed_avg")
    )
    counts = tensors.take(f"{key}.cluster_size", (num_codes,))
    return CodebookState(embed, counts, average, np.int32(_MANY_STEPS))

  after_blocks = 2 + blocks  # a ReLU lies between the last block and the first transposed one
  params = {
    "encoders_0": {
      "down_0": conv("enc_t.blocks.0", half, channels, 4),
      "conv": conv("enc_t.blocks.2", channels, half, 3),
      **residual("enc_t.blocks", 3),
    },
    "encoders_1": {
      "down_0": conv("enc_b.blocks.0", half, image_channels, 4),
      "down_1": conv("enc_b.blocks.2", channels, half, 4),
      "conv": conv("enc_b.blocks.4", channels, channels, 3),
      **residual("enc_b.blocks", 5),
    },
    "to_codes_0": conv("quantize_conv_t", code_dim, channels, 1),
    "to_codes_1": conv("quantize_conv_b", code_dim, code_dim + channels, 1),
    "decoders_0": {
      "conv": conv("dec_t.blocks.0", channels, code_dim, 3),
      **residual("dec_t.blocks", 1),
      "up_0": transposed(f"dec_t.blocks.{after_blocks}", code_dim, channels),
    },
    "decoders_1": {
      "conv": conv("dec.blocks.0", channels, 2 * code_dim, 3),
      **residual("dec.blocks", 1),
      "up_0": transposed(f"dec.blocks.{after_blocks}", half, channels),
      "up_1": transposed(f"dec.blocks.{after_blocks + 2}", image_channels, half),
    },
    "upsamples_0": {"up_0": transposed("upsample_t", code_dim, code_dim)},
  }
  codebooks = (codebook("quantize_t"), codebook("quantize_b"))
  tensors.done()
  return {"params": params, "codebooks": codebooks}
