"""PixelSNAIL refuses what it can't be or take, in one line that names it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.priors import Conditions, PixelSNAIL, log_prob, sample

KEY = jax.random.key(42)
I32 = jnp.int32
UPPER = {"upper_codes": (4,)}
BAD_INPUTS = {
  "rank": ({}, (2, 4, 4, 1), None, r"codes have shape \[2, 4, 4, 1\]; it must be \[B, H, W\]"),
  "needless labels": ({}, (2, 4, 4), jnp.zeros(2, I32), "cond has labels; this model takes none"),
  "missing labels": ({"num_classes": 4}, (2, 4, 4), None, "no labels: this model has 4 classes"),
  "labels": ({"num_classes": 4}, (2, 4, 4), jnp.zeros(3, I32), r"shape \[3\]; it must be \[2\]"),
  "float labels": ({"num_classes": 4}, (2, 4, 4), jnp.zeros(2), "labels are float32"),
  "no conditions": (UPPER, (2, 4, 4), None, r"cond is None; .*takes Conditions\(labels, codes\)"),
  "labels alone": (UPPER, (2, 4, 4), jnp.zeros(2, I32), r"cond is int32\[2\]; .*Conditions"),
  "no upper codes": (UPPER, (2, 4, 4), Conditions(), "0 levels of upper codes; .* a tuple of 1"),
  "needless codes": (
    {}, (2, 4, 4), Conditions(codes=(jnp.zeros((2, 2, 2), I32),)), "1 levels of upper codes",
  ),
  "features": ({}, (2, 4, 4), Conditions(features=jnp.zeros((2, 3))), "cond has features; this"),
  "not a tuple": (UPPER, (2, 4, 4), Conditions(codes=jnp.zeros((2, 2, 2), I32)), r"int32\[2, 2, 2"),
  "batch": (
    UPPER, (2, 4, 4), Conditions(codes=(jnp.zeros((1, 2, 2), I32),)), r"it must be \[2, h, w\]",
  ),
  "level rank": (UPPER, (2, 4, 4), Conditions(codes=(jnp.zeros((2, 2), I32),)), r"\[2, h, w\]"),
  "float codes": (UPPER, (2, 4, 4), Conditions(codes=(jnp.zeros((2, 2, 2)),)), "0 are float32"),
  "factor": (
    UPPER, (2, 4, 6), Conditions(codes=(jnp.zeros((2, 2, 4), I32),)), "0 are 2x4; .*divide.* 4x6",
  ),
  "even kernel": ({"kernel_size": 4}, (2, 4, 4), None, "kernel_size is 4"),
  "heads": ({"num_heads": 3}, (2, 4, 4), None, "num_heads is 3; it must divide the 4"),
  "blocks": ({"num_blocks": 0}, (2, 4, 4), None, "num_blocks is 0; it must be at least 1"),
}  # fmt: skip


BAD_FIELDS = [
  ({"attention_channels": 0}, "attention_channels is 0; it must be at least 1"),
  ({"channels": 1}, "channels is 1; attention to half as many needs at least 2"),
  ({"channels": 8.0}, "channels is 8.0; it must be a whole number"),
  ({"out_res_channels": 0}, "out_res_channels is 0; it must be at least 1"),
  ({"num_classes": -1}, "num_classes is -1; it must be at least 0"),
  ({"num_out_blocks": -1}, "num_out_blocks is -1; it must be at least 0"),
  ({"num_heads": 0}, "num_heads is 0; it must be at least 1"),
  ({"num_cond_blocks": -1, **UPPER}, "num_cond_blocks is -1; it must be at least 0"),
  ({"cond_channels": 0, **UPPER}, "cond_channels is 0; it must be at least 1"),
  ({"cond_res_channels": 0, **UPPER}, "cond_res_channels is 0; it must be at least 1"),
  ({"upper_codes": (4, 0)}, r"upper_codes\[1\] is 0; it must be at least 1"),
  ({"upper_codes": (5.0,)}, r"upper_codes\[0\] is 5.0; it must be a whole number"),
  ({"upper_codes": [5]}, r"upper_codes is \[5\]; it must be a tuple of K a level"),
  ({"kernel_size": 4}, "kernel_size is 4; it must be odd"),
  ({"kernel_size": 1}, "kernel_size is 1; it must be at least 3"),
  ({"dropout": 1.5}, r"dropout is 1.5; it must be in \[0, 1\)"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_FIELDS)
def test_impossible_fields_are_named_before_anything_is_compiled(fields, message):
  codes = jnp.zeros((1, 2, 2), I32)
  for call in (
    lambda model: model.init(KEY, codes),
    lambda model: sample(KEY, model, {}, codes.shape),
    lambda model: log_prob(model, {}, codes),
  ):
    with pytest.raises(ValueError, match=message) as error:
      call(PixelSNAIL(5, **{"channels": 8, "num_heads": 2, "num_blocks": 1, **fields}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("fields", "shape", "cond", "message"), BAD_INPUTS.values(), ids=BAD_INPUTS
)
def test_bad_input_is_one_clear_line(fields, shape, cond, message):
  fields = {"channels": 8, "num_heads": 2, "num_blocks": 1, "num_res_blocks": 1, **fields}
  model = PixelSNAIL(5, **fields)
  with pytest.raises(ValueError, match=message) as error:
    jax.eval_shape(model.init, KEY, jnp.zeros(shape, I32), cond)
  assert "\n" not in str(error.value)
  if "kernel" not in message and "heads" not in message:  # what depends on no input
    with pytest.raises(ValueError, match=message):
      jax.eval_shape(lambda: model.init(KEY, shape, cond, method="init_cache"))


def test_values_out_of_range_are_named(snail):
  shape = (2, 4, 6)
  fields = {"num_classes": 3, "attention": False, "upper": ((7, 2, 3),)}
  model, params, codes, cond = snail(shape, dtype=jnp.float32, **fields)
  for bad, message in (
    (
      cond._replace(labels=cond.labels * 0 + 3),
      r"labels run from 3 to 3; they must be in \[0, 3\)",
    ),
    (cond._replace(codes=(cond.codes[0] * 0 - 1,)), r"upper codes 0 run from -1 to -1; .*\[0, 7\)"),
  ):
    with pytest.raises(ValueError, match=message):
      sample(KEY, model, params, shape, cond=bad)
    with pytest.raises(ValueError, match=message):
      log_prob(model, params, codes, cond=bad)
  for labels in ([99, 1], np.asarray([99, 1]), (jnp.int32(99), 1)):
    with pytest.raises(ValueError, match=r"labels run from 1 to 99; .*\[0, 3\)"):
      sample(KEY, model, params, shape, cond=cond._replace(labels=labels))
  with pytest.raises(ValueError, match="codes are float32"):
    model.apply({"params": params}, codes.astype(jnp.float32), cond)
