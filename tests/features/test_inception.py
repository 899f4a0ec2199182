"""Inception-v3: sizes, and preprocessing as two projects do it. Parity: tests/interop."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import features

HIGHEST = jax.lax.Precision.HIGHEST
SIZES = [(32, 32), (300, 500), (299, 299), (1, 2)]


def test_parameters_and_outputs_by_shape():
  model = features.InceptionV3()
  images = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), images)
  count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  # torchvision's 27,161,264, less 3,326,696 of the auxiliary head; 1008 classes, not 1000.
  assert count == 27_161_264 - 3_326_696 + 8 * 2049
  out = jax.eval_shape(model.apply, variables, images)
  widths = [64, 192, 768, 2048, 1008, 1008]
  assert [x.shape for x in out] == [(2, width) for width in widths]
  rough = jax.eval_shape(features.InceptionV3(dtype=jnp.bfloat16).apply, variables, images)
  assert [(x.shape, x.dtype) for x in rough] == [(x.shape, jnp.float32) for x in out]
  pooled = jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), variables, images)
  assert pooled.shape == (2, 2048)


@pytest.mark.parametrize("precision", [HIGHEST, None])
def test_every_product_is_as_precise_as_asked(precision):
  """By default as precise as the inputs: FID is a difference of large numbers."""
  model = features.InceptionV3(num_classes=3)
  assert model.precision == HIGHEST
  model = model.clone(precision=precision, param_dtype=jnp.bfloat16)
  images = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), images)
  kernels = [x for x in jax.tree.leaves(variables["params"]) if x.ndim > 1]
  assert {x.dtype for x in kernels} == {jnp.dtype(jnp.bfloat16)}
  found = str(jax.make_jaxpr(model.apply)(variables, images))
  products = found.count("= conv_general_dilated[") + found.count("= dot_general[")
  assert products == 95 and found.count("precision=(Precision.HIGHEST") == (95 if precision else 0)


def bilinear(image, half_pixel_centres):
  """One pixel at a time, from the definition."""
  height, width, _ = image.shape
  out = np.zeros((299, 299, 3))
  for i in range(299):
    for j in range(299):
      y, x = (i * height / 299, j * width / 299)
      if half_pixel_centres:
        y, x = max((i + 0.5) * height / 299 - 0.5, 0), max((j + 0.5) * width / 299 - 0.5, 0)
      a, b = int(y), int(x)
      c, d = min(a + 1, height - 1), min(b + 1, width - 1)
      v, u = y - a, x - b
      top = (1 - u) * image[a, b] + u * image[a, d]
      out[i, j] = (1 - v) * top + v * ((1 - u) * image[c, b] + u * image[c, d])
  return out


@pytest.mark.parametrize("convention", ["torch-fidelity", "pytorch-fid"])
def test_preprocess_by_definition(convention):
  image = np.random.default_rng(0).integers(0, 256, (40, 23, 3))
  by_hand = bilinear(image, convention == "pytorch-fid")
  by_hand = (by_hand - 128) / 128 if convention == "torch-fidelity" else 2 * by_hand / 255 - 1
  prepare = partial(features.inception_images, convention=convention)
  found = prepare(jnp.asarray(image[None], jnp.uint8))
  assert found.shape == (1, 299, 299, 3) and found.dtype == jnp.float32
  np.testing.assert_allclose(found[0], by_hand, atol=1e-4)
  floats = prepare(jnp.asarray(image[None] / 255, jnp.float32))
  np.testing.assert_allclose(floats, found, atol=1e-4)
  gray = prepare(jnp.asarray(image[None, ..., :1], jnp.uint8))
  np.testing.assert_allclose(gray[0], np.repeat(found[0, ..., :1], 3, -1), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_preprocess_against_torch(size):
  torch = pytest.importorskip("torch", reason="peer PyTorch not installed")
  x = np.random.default_rng(0).random((2, 3, *size), np.float32)
  resized = torch.nn.functional.interpolate(
    torch.from_numpy(x), size=(299, 299), mode="bilinear", align_corners=False
  )
  found = features.inception_images(jnp.asarray(x.transpose(0, 2, 3, 1)), convention="pytorch-fid")
  np.testing.assert_allclose(found.transpose(0, 3, 1, 2), 2 * resized.numpy() - 1, atol=2e-5)


def test_bad_input_is_named():
  with pytest.raises(ValueError, match="found \\(2, 8, 8, 4\\)"):
    features.inception_images(jnp.zeros((2, 8, 8, 4)))
  with pytest.raises(ValueError, match="found int32"):
    features.inception_images(jnp.zeros((2, 8, 8, 3), jnp.int32))
  with pytest.raises(ValueError, match="must be 'torch-fidelity' or"):
    features.inception_images(jnp.zeros((2, 8, 8, 3)), convention="clean-fid")
  with pytest.raises(ValueError, match="75 at least"):
    features.InceptionV3().init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  with pytest.raises(ValueError, match=r"uint8; see features\.inception_images"):
    features.InceptionV3().init(jax.random.key(0), jnp.zeros((1, 99, 99, 3), jnp.uint8))
