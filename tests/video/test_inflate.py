"""Kernels for clips from kernels for images."""

import jax
import numpy as np
import pytest
from jax import lax

from vqlab import video
from vqlab.nn.conv3d import conv3d


def test_an_image_repeated_gives_what_the_image_gave():
  image = jax.random.normal(jax.random.key(0), (2, 6, 5, 3))
  kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
  expected = lax.conv_general_dilated(
    image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  clip = np.repeat(image[:, None], 7, axis=1)
  padding = ((0, 0), (1, 1), (1, 1))
  found = conv3d(clip, video.inflate(kernel, 5), padding=padding)
  assert found.shape == (2, 3, 6, 5, 4)
  for frame in range(3):
    np.testing.assert_allclose(found[:, frame], expected, rtol=1e-5, atol=1e-5)


def test_flow_gets_the_mean_of_the_colours():
  kernel = jax.random.normal(jax.random.key(1), (7, 7, 3, 4))
  found = video.cross_modality(kernel, 20)
  assert found.shape == (7, 7, 20, 4)
  np.testing.assert_allclose(found[:, :, 13], kernel.mean(axis=2), rtol=1e-5, atol=1e-6)


def test_other_shapes_are_refused():
  with pytest.raises(ValueError, match=r"must be \[kh, kw, I, O\] .* found \[3, 4\] and 2"):
    video.inflate(np.zeros((3, 4)), 2)
