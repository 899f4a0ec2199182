"""The VQ-VAE of video: no code knows of a later frame; a kernel of 1 is a VQ-VAE a frame."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.autoencoders import discrete
from vqlab.autoencoders.vqvae import VQVAE
from vqlab.autoencoders.vqvae_video import VideoVQVAE

NETWORKS = VQVAE(
  image_channels=1, channels=6, residual_channels=4, num_residual_blocks=1, num_downsamples=2,
  code_dim=3,
)  # fmt: skip


def made(time_kernel: int):
  model = VideoVQVAE(NETWORKS, time_kernel)
  clips = jax.random.normal(jax.random.key(0), (2, 5, 8, 12, 1))
  codebooks = (jax.random.normal(jax.random.key(1), (7, 3)),)
  return model, model.init(jax.random.key(2), clips, codebooks)["params"], codebooks, clips


@pytest.mark.parametrize("time_kernel", [1, 3])
def test_codes_of_a_frame_know_those_before_it_alone(time_kernel):
  model, params, codebooks, clips = made(time_kernel)
  encoder = jax.jit(lambda clips: model.apply({"params": params}, clips, method="encoder"))
  z = encoder(clips)
  assert z.shape[1:-1] == model.map_shapes(5, 8, 12)[0] == (5, 2, 3)
  changed = np.abs(encoder(clips.at[:, 2].add(1.0)) - z).max((0, 2, 3, 4)) > 1e-6
  # Two convolutions of 3 frames reach 4 frames on; a kernel of 1 the frame itself.
  expected = (
    [False, False, True, True, True] if time_kernel == 3 else [False, False, True, *[False] * 2]
  )
  assert changed.tolist() == expected
  shorter = discrete.encode(model, params, codebooks, clips[:, :3])
  np.testing.assert_array_equal(
    shorter[0], discrete.encode(model, params, codebooks, clips)[0][:, :3]
  )


def test_a_kernel_of_one_is_a_vqvae_a_frame():
  model, params, codebooks, clips = made(1)
  frames = clips.reshape(10, 8, 12, 1)
  out = discrete.forward(model, params, codebooks, clips)
  each = discrete.forward(NETWORKS, params["networks"], codebooks, frames)
  np.testing.assert_allclose(
    out.reconstruction.reshape(frames.shape), each.reconstruction, atol=1e-5
  )
  (codes,) = discrete.encode(model, params, codebooks, clips)
  np.testing.assert_array_equal(codes.reshape(10, 2, 3), each.quantized[0].indices)
  decoded = discrete.decode(model, params, codebooks, (codes,))
  np.testing.assert_allclose(decoded, out.reconstruction, atol=1e-5)


@pytest.mark.parametrize("time_kernel", [1, 3])
def test_gradients_reach_everything(time_kernel):
  model, params, codebooks, clips = made(time_kernel)

  def loss(params):
    out = discrete.forward(model, params, codebooks, clips)
    terms = discrete.losses(out, clips)
    return jnp.sum(terms.reconstruction + terms.commitment)

  for path, g in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(params)):
    assert np.abs(g).max() > 0, jax.tree_util.keystr(path)


def test_bad_input():
  _, params, codebooks, clips = made(1)
  apply = lambda model, clips: model.apply({"params": params}, clips, codebooks)
  with pytest.raises(ValueError, match=r"clips must be \[B, T, H, W, 1\]; found"):
    apply(VideoVQVAE(NETWORKS), clips[:, 0])
  with pytest.raises(ValueError, match="multiples of 4 = 2\\^num_downsamples; found 6x12"):
    apply(VideoVQVAE(NETWORKS), clips[:, :, :6])
  with pytest.raises(ValueError, match="time_kernel is 0; it must be at least 1"):
    apply(VideoVQVAE(NETWORKS, 0), clips)
  with pytest.raises(ValueError, match="codes_per_position is 2; it must be 1"):
    apply(VideoVQVAE(NETWORKS.clone(codes_per_position=2)), clips)
