"""PixelSNAIL converted from PyTorch computes what it computes there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.interop import from_torch, pixelsnail_model
from vqlab.interop.pixelsnail import convert
from vqlab.priors import Conditions, PixelSNAIL

torch = pytest.importorskip("torch")
peer = pytest.importorskip("benchmarks.peers.pixelsnail")

BOTTOM = {"attention": False, "cond_blocks": 3, "cond_channels": 256}
SMALL = {"num_codes": 12, "channels": 16, "blocks": 2, "layers": 2, "hidden": 6}


def generic(shape, seed=0, **fields):
  """A network with garbage in the taps that it does not use, and no parameter that is trivial."""
  torch.manual_seed(seed)
  model = peer.PixelSNAIL(shape, **fields).eval()
  with torch.no_grad():
    for layer in model.normed():
      layer.weight_g.mul_(torch.empty_like(layer.weight_g).uniform_(0.7, 1.3))
      if layer.bias is not None:
        layer.bias.normal_(std=0.2)
      if layer.masked:
        taps = layer.weight_v[:, :, -1, layer.weight_v.shape[3] // 2 :]
        taps.copy_(torch.randn_like(taps))
  return model


def agree(model, size, factor=0, heads=8):
  """The largest logit, and the largest difference, on one random map (and the level above)."""
  state = model.state_dict()
  codes = torch.randint(model.num_codes, (1, size, size))
  upper = torch.randint(model.num_codes, (1, size // factor, size // factor)) if factor else None
  with torch.no_grad():
    expected = model(codes, upper).permute(0, 2, 3, 1).numpy()
  module, variables = pixelsnail_model(state, num_heads=heads), convert(state)
  cond = Conditions(codes=(jnp.asarray(upper.numpy(), jnp.int32),)) if factor else None
  shapes = jax.eval_shape(
    module.init, jax.random.key(0), jnp.zeros((1, size, size), jnp.int32), cond
  )
  jax.tree.map(lambda x, y: np.testing.assert_equal(x.shape, y.shape), variables, shapes)
  found = jax.jit(module.apply)(variables, jnp.asarray(codes.numpy(), jnp.int32), cond)
  return np.abs(expected).max(), np.abs(np.asarray(found) - expected).max()


def counts(model):
  return sum(x.numel() for x in model.parameters()), len(model.state_dict())


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_every_part_agrees_closely(level):
  fields = {"out_blocks": 2} if level == "top" else {**BOTTOM, "cond_channels": 10, "kernel": 3}
  model = generic((8, 8), **{**SMALL, **fields})
  largest, error = agree(model, 8, 0 if level == "top" else 2)
  assert largest > 0.5 and error < 1e-5


def test_another_number_of_heads():
  """It changes no tensor, so the model is told."""
  model = generic((4, 4), **SMALL)
  for block in model.blocks:
    block.causal_attention.heads = 4
  largest, error = agree(model, 4, heads=4)
  assert largest > 0.5 and error < 1e-5
  assert agree(model, 4)[1] > 1e-3
  with pytest.raises(ValueError, match="num_heads is 3; it must divide the 8 attention channels"):
    pixelsnail_model(model.state_dict(), num_heads=3)


@pytest.mark.slow
def test_full_size_top():
  model = generic((8, 8))
  assert counts(model) == (84_873_280, 226)
  largest, error = agree(model, 8)
  assert largest > 0.5 and error < 1e-3
  assert pixelsnail_model(model.state_dict()) == PixelSNAIL(attention_channels=128)


def test_full_size_bottom():
  model = generic((16, 16), **BOTTOM)
  assert counts(model) == (89_762_816, 171)
  largest, error = agree(model, 16, 2)
  assert largest > 0.5 and error < 1e-3
  expected = PixelSNAIL(attention=False, upper_codes=(512,), cond_res_channels=256)
  assert pixelsnail_model(model.state_dict()) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("size", "fields"), [(32, {}), (64, BOTTOM)], ids=["top", "bottom"])
def test_full_size_on_the_papers_maps(size, fields):
  largest, error = agree(generic((size, size), **fields), size, 2 if fields else 0)
  print(f"{size}x{size}: logits up to {largest:.1f}, largest difference {error:.1e}")
  assert largest > 0.5 and error < 1e-3


@pytest.fixture(scope="module")
def small_states():
  return {
    "top": generic((4, 4), **SMALL).state_dict(),
    "bottom": generic((4, 4), **{**SMALL, **BOTTOM, "cond_channels": 10}).state_dict(),
  }


def test_the_prefix_of_data_parallel_training_is_dropped(small_states):
  state = small_states["top"]
  found = convert({f"module.{key}": value for key, value in state.items()})
  jax.tree.map(np.testing.assert_array_equal, found, convert(state))


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_a_missing_tensor_is_named(level, small_states):
  state = small_states[level]
  for key in state:
    with pytest.raises(ValueError, match=key.replace(".", r"\.")) as error:
      convert({k: v for k, v in state.items() if k != key})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_a_tensor_of_another_shape_is_named(level, small_states):
  """Unless it decides a size; then another one no longer fits, or its own rank is wrong."""
  state = small_states[level]
  for key, value in state.items():
    with pytest.raises(ValueError, match=r"has shape|does not fit|must divide") as error:
      convert({**state, key: value[None]})
    assert key in str(error.value)
    if not key.startswith("background"):
      with pytest.raises(ValueError, match=r"has shape|does not fit|must divide"):
        convert({**state, key: torch.cat([value, value])})


TAILS = {
  "last block": ("top", lambda key: key.startswith("blocks.1.")),
  "last layers": ("top", lambda key: ".resblocks.1." in key),
  "conditioning": ("bottom", lambda key: key.startswith("cond_resnet.blocks.3.")),
}


@pytest.mark.parametrize(("level", "missing"), TAILS.values(), ids=TAILS)
def test_an_end_that_is_missing_is_named_where_the_model_is_given(level, missing, small_states):
  state = small_states[level]
  model = pixelsnail_model(state)
  found = from_torch("pixelsnail", state, model=model)
  jax.tree.map(np.testing.assert_array_equal, found, from_torch("pixelsnail", state))
  cut = {key: value for key, value in state.items() if not missing(key)}
  assert pixelsnail_model(cut) != model
  first = next(key for key in state if missing(key)).split(".weight")[0]
  with pytest.raises(ValueError, match="does not fit; missing: ") as error:
    from_torch("pixelsnail", cut, model=model)
  assert first.rsplit(".", 1)[0] in str(error.value)
  with pytest.raises(ValueError, match="unexpected: "):
    from_torch("pixelsnail", state, model=pixelsnail_model(cut))


def test_a_model_that_is_not_of_this_kind_is_refused(small_states):
  state = small_states["top"]
  model = pixelsnail_model(state)
  with pytest.raises(ValueError, match=r"num_classes=3 .* rosinality's has no classes"):
    from_torch("pixelsnail", state, model=model.clone(num_classes=3))
  with pytest.raises(ValueError, match="'vqvae2' takes none"):
    from_torch("vqvae2", state, model=model)
  with pytest.raises(ValueError, match=r"has shape \[.*\]; expected \["):
    from_torch("pixelsnail", state, model=model.clone(res_channels=7))


def test_shifted_and_extra_tensors_are_refused(small_states):
  state = small_states["top"]
  with pytest.raises(ValueError, match=r"unexpected: out\.9\.conv\.bias"):
    convert({**state, "out.9.conv.bias": torch.zeros(3)})
  with pytest.raises(ValueError, match=r"unexpected: blocks\.0\.out\.conv\.bias"):
    convert({**state, "blocks.0.out.conv.bias": torch.zeros(16)})
  keys = list(state)
  shifted = dict(zip(keys, [state[key] for key in keys[1:] + keys[:1]], strict=True))
  with pytest.raises(ValueError, match="PixelSNAIL: "):
    convert(shifted)
  with pytest.raises(ValueError, match="'background' doesn't hold the coordinates"):
    convert({**state, "background": state["background"] + 0.5})
  with pytest.raises(ValueError, match=r"'vertical\.conv\.conv\.weight_v' is zero"):
    name = "vertical.conv.conv.weight_v"
    convert({**state, name: torch.zeros_like(state[name])})
  with pytest.raises(ValueError, match=r"'out\.1\.conv\.bias' holds NaN"):
    convert({**state, "out.1.conv.bias": torch.full((12,), torch.nan)})
