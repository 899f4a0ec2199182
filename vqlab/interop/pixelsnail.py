"""rosinality's PixelSNAIL (vq-vae-2-pytorch) to `vqlab.priors.PixelSNAIL`.

Its convolutions are weight-normalised, w = g v / |v| for every output channel; here w is stored.
Its causal kernels are square: in every forward pass it sets to zero the taps of v at and after the
position itself, but its optimizer refills them, so that a checkpoint may hold anything there. They
are dropped before |v| is taken, as its forward pass does.

Sizes are read off the tensors, so of a state dict whose end is missing as a whole (the last block,
the last layer of every block, the last block of the conditioning stack) nothing tells that it ever
was: it is one of a smaller model. Give `convert` the model that is expected, and it names them.

It computes ELUs out of place. Its earlier versions did so in place, and by that added elu(x) for x
in every residual: their checkpoints look the same, are another function, and cannot be told apart.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vqlab.interop.state_dict import StateDict
from vqlab.priors import PixelSNAIL

WHAT = "PixelSNAIL"


def model_of(state_dict: Mapping[str, Any], *, num_heads: int = 8) -> PixelSNAIL:
  """The module of the sizes of a state dict's tensors, whose parameters `convert` gives.

  Args:
    state_dict: tensors or arrays by key.
    num_heads: of the attention. No tensor tells it: it is 8 in all of rosinality's code.

  Raises:
    ValueError: a tensor that decides a size is missing or has another number of axes, or the heads
      do not divide the attention's channels.
  """
  model = _model_of(StateDict(state_dict, WHAT), num_heads)
  model.check_fields()
  return model


def convert(state_dict: Mapping[str, Any], *, model: PixelSNAIL | None = None) -> dict[str, Any]:
  """Variables {"params": ...}, as NumPy arrays.

  Args:
    state_dict: tensors or arrays by key, as `PixelSNAIL.state_dict()` gives them; every key may
      begin with "module.".
    model: what the variables are for. Where None it is `model_of(state_dict)`, whatever its heads:
      no parameter depends on them.

  Raises:
    ValueError: a tensor is missing, not expected, of another shape than the model or the other
      tensors ask for, or not finite; the line names it. Or the model has classes or several upper
      levels, which rosinality's has not.
  """
  tensors = StateDict(state_dict, WHAT)
  if model is None:
    model = _model_of(tensors, num_heads=1)
  model.check_fields()
  if model.num_classes or len(model.upper_codes) > 1:
    raise ValueError(
      f"{WHAT}: the model has num_classes={model.num_classes} and upper_codes={model.upper_codes}; "
      "rosinality's has no classes, and one upper level at most"
    )
  C, R, k = model.channels, model.res_channels, model.kernel_size
  params: dict[str, Any] = {}
  params["embed_above"], params["embed_left"] = _embeddings(tensors, model)
  places = [
    f"blocks.{b}.resblocks.{n}"
    for b in range(model.num_blocks)
    for n in range(model.num_res_blocks)
  ]
  for name, conv, shape in (("first", "conv1", (R, C)), ("second", "conv2", (2 * C, R))):
    layers = [_strict(tensors, f"{place}.{conv}.conv.conv", (*shape, k, k)) for place in places]
    params[name] = {part: np.stack([x[part] for x in layers]) for part in layers[0]}
  for b in range(model.num_blocks):
    params[f"blocks_{b}"] = _block(tensors, f"blocks.{b}", model)
  out = R if model.out_res_channels is None else model.out_res_channels
  for n in range(model.num_out_blocks):
    params[f"out_blocks_{n}"] = _gated(tensors, f"out.{n}", C, out)
  last = f"out.{model.num_out_blocks + 1}.conv"
  params["to_logits"] = _dense(tensors, last, C, model.num_codes)
  if model.upper_codes:
    Cc = model.cond_channels
    kernels = [
      _folded(tensors, f"{place}.condition.conv", (2 * C, Cc, 1, 1))[..., 0, 0].T
      for place in places
    ]
    params["cond_gates"] = np.stack(kernels)
    params["cond_stack"] = _cond_stack(tensors, model)
  _check_background(tensors)
  tensors.done()
  return {"params": params}


def _model_of(tensors: StateDict, num_heads: int) -> PixelSNAIL:
  C, K, _, _ = tensors.shape("horizontal.conv.conv.weight_v", 4)
  R, _, k, _ = tensors.shape("blocks.0.resblocks.0.conv1.conv.conv.weight_v", 4)
  if k % 2 == 0:
    raise ValueError(f"{WHAT}: its kernels are {k}x{k}; only odd sizes are supported")
  fields: dict[str, Any] = {}
  if any(key.startswith("blocks.0.causal_attention.") for key in tensors.keys()):  # noqa: SIM118
    fields["attention_channels"] = tensors.shape("blocks.0.causal_attention.query.weight_v", 2)[0]
  num_out_blocks = _count(tensors, "out.{}.conv1.")
  if num_out_blocks:
    fields["out_res_channels"] = tensors.shape("out.0.conv1.conv.weight_v", 4)[0]
  if _count(tensors, "cond_resnet.blocks.{}."):
    Cc, upper, _, _ = tensors.shape("cond_resnet.blocks.0.conv.weight_v", 4)
    count = _count(tensors, "cond_resnet.blocks.{}.") - 1
    fields |= {"upper_codes": (upper,), "num_cond_blocks": count, "cond_channels": Cc}
    if count:
      hidden = tensors.shape("cond_resnet.blocks.1.conv1.conv.weight_v", 4)[0]
      fields["cond_res_channels"] = hidden
  return PixelSNAIL(
    num_codes=K,
    channels=C,
    kernel_size=k,
    num_blocks=_count(tensors, "blocks.{}."),
    num_res_blocks=_count(tensors, "blocks.0.resblocks.{}."),
    res_channels=R,
    attention="attention_channels" in fields,
    num_heads=num_heads,
    num_out_blocks=num_out_blocks,
    **fields,
  )


def _count(tensors: StateDict, prefix: str) -> int:
  """How many of prefix.format(0), prefix.format(1), ... some key begins with."""
  count = 0
  while any(key.startswith(prefix.format(count)) for key in tensors.keys()):  # noqa: SIM118
    count += 1
  return count


def _folded(tensors: StateDict, place: str, shape: tuple[int, ...], mask: Any = 1) -> np.ndarray:
  """The kernel g v / |v| of `shape` [out, in, ...]; |v| is over the taps that the mask leaves."""
  v = tensors.take(f"{place}.weight_v", shape)
  g = tensors.take(f"{place}.weight_g", (shape[0], *[1] * (len(shape) - 1)))
  if f"{place}.weight_v" not in tensors:
    return v  # zeros, in place of a tensor whose absence `done` tells
  masked = v.astype(np.float64) * mask
  norm = np.sqrt((masked**2).sum(tuple(range(1, len(shape))), keepdims=True))
  if not norm.all():
    raise ValueError(f"{WHAT}: '{place}.weight_v' is zero for an output channel: it has no norm")
  return (g * (masked / norm)).astype(np.result_type(v.dtype, np.float32))


def _strict(tensors: StateDict, place: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
  """A causal k x k kernel as `above`, `left` and `bias` of one of `StrictCausalConvs`' layers."""
  k = shape[-1]
  mask = np.ones((k, k))
  mask[-1, k // 2 :] = 0
  kernel = _folded(tensors, place, shape, mask).transpose(2, 3, 1, 0)
  bias = tensors.take(f"{place}.bias", shape[:1])
  return {"above": kernel[:-1], "left": kernel[-1, : k // 2], "bias": bias}


def _embeddings(tensors: StateDict, model: PixelSNAIL) -> tuple[dict, dict]:
  """Its two first convolutions overlap, and their outputs are summed: so are their kernels.

  `horizontal` reads rows i-r..i-1, columns j-r..j+r; `vertical` rows i-r..i, columns j-r..j-1.
  """
  K, C, k, r = model.num_codes, model.channels, model.kernel_size, model.kernel_size // 2
  places = [f"{name}.conv.conv" for name in ("horizontal", "vertical")]
  above = _folded(tensors, places[0], (C, K, r, k)).transpose(2, 3, 1, 0).copy()
  left = _folded(tensors, places[1], (C, K, r + 1, r)).transpose(2, 3, 1, 0)
  above[:, :r] += left[:-1]
  biases = [tensors.take(f"{place}.bias", (C,)) for place in places]
  above, left = (
    {"tables": kernel.reshape(-1, K, C), "bias": bias}
    for kernel, bias in zip((above, left[-1]), biases, strict=True)
  )
  return above, left


def _dense(tensors: StateDict, place: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
  """A 1x1 convolution."""
  kernel = _folded(tensors, place, (outputs, inputs, 1, 1))[..., 0, 0].T
  return {"kernel": kernel, "bias": tensors.take(f"{place}.bias", (outputs,))}


def _conv(tensors: StateDict, place: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
  """A 3x3 convolution."""
  kernel = _folded(tensors, place, (outputs, inputs, 3, 3)).transpose(2, 3, 1, 0)
  return {"kernel": kernel, "bias": tensors.take(f"{place}.bias", (outputs,))}


def _gated(
  tensors: StateDict, place: str, channels: int, hidden: int, layer: Callable[..., dict] = _dense
) -> dict[str, Any]:
  return {
    "first": layer(tensors, f"{place}.conv1.conv", channels, hidden),
    "second": layer(tensors, f"{place}.conv2.conv", hidden, 2 * channels),
  }


def _block(tensors: StateDict, place: str, model: PixelSNAIL) -> dict[str, Any]:
  C, A = model.channels, model.attended
  if not model.attention:
    return {"out": _dense(tensors, f"{place}.out.conv", C + 2, C)}

  def linear(name: str, inputs: int) -> dict[str, np.ndarray]:
    kernel = _folded(tensors, f"{place}.causal_attention.{name}", (A, inputs)).T
    return {"kernel": kernel, "bias": tensors.take(f"{place}.causal_attention.{name}.bias", (A,))}

  key, value = linear("key", 2 * C + 2), linear("value", 2 * C + 2)
  # The output block's first layer reads the attention by a convolution of its own.
  out = _gated(tensors, f"{place}.out_resblock", C, C)
  extra = _dense(tensors, f"{place}.out_resblock.aux_conv.conv", A, C)
  out["first"] = {
    "kernel": np.concatenate([out["first"]["kernel"], extra["kernel"]]),
    "bias": out["first"]["bias"] + extra["bias"],
  }
  return {
    "key": _gated(tensors, f"{place}.key_resblock", 2 * C + 2, C),
    "query": _gated(tensors, f"{place}.query_resblock", C + 2, C),
    "attend": {
      "query": linear("query", C + 2),
      "key_value": {part: np.concatenate([key[part], value[part]], -1) for part in key},
    },
    "out": out,
  }


def _cond_stack(tensors: StateDict, model: PixelSNAIL) -> dict[str, Any]:
  (K,), Cc = model.upper_codes, model.cond_channels
  first = _conv(tensors, "cond_resnet.blocks.0.conv", K, Cc)
  stack = {"levels_0": {"tables": first["kernel"].reshape(9, K, Cc), "bias": first["bias"]}}
  hidden = Cc if model.cond_res_channels is None else model.cond_res_channels
  for n in range(model.num_cond_blocks):
    place = f"cond_resnet.blocks.{n + 1}"
    stack[f"blocks_{n}"] = _gated(tensors, place, Cc, hidden, _conv)
  return stack


def _check_background(tensors: StateDict) -> None:
  """The buffer of coordinates, which are computed here, must hold them."""
  if "background" not in tensors:
    tensors.take("background", ())  # noted as missing
    return
  _, _, H, W = shape = tensors.shape("background", 4)
  expected = [(np.arange(size) - size / 2) / size for size in (H, W)]
  expected = np.stack(np.meshgrid(*expected, indexing="ij"))[None]
  found = tensors.take("background", (1, 2, *shape[2:]))
  if np.abs(found - expected).max() > 1e-3:
    raise ValueError(f"{WHAT}: 'background' doesn't hold the coordinates (i - {H}/2)/{H}, ...")
