"""Networks for clips with PyTorch's weights say what PyTorch's networks say, at full size."""

import jax
import numpy as np
import pytest

from vqlab import interop

torch = pytest.importorskip("torch")
from benchmarks.peers import video as peers  # noqa: E402
from benchmarks.peers.random_weights import randomize  # noqa: E402

# Clips T, H, W: that of training, and another.
NETWORKS = {
  "x3d_xs": [(4, 160, 160), (4, 182, 182)],
  "x3d_s": [(13, 160, 160), (13, 182, 182)],
  "x3d_m": [(16, 224, 224), (16, 256, 256)],
  "x3d_l": [(16, 312, 312), (16, 356, 356)],
  "slow_r50": [(8, 224, 224), (8, 256, 256)],
  "c2d_r50": [(8, 224, 224), (8, 256, 256)],
  "i3d_r50": [(8, 224, 224), (8, 256, 256)],
  "r2plus1d_r50": [(16, 224, 224), (16, 256, 256)],
  "slowfast_8x8_r50": [(32, 224, 224), (32, 256, 256)],
  "slowfast_8x8_r101": [(32, 224, 224), (32, 256, 256)],
  "r3d_18": [(16, 112, 112), (8, 100, 128)],
  "mc3_18": [(16, 112, 112), (8, 100, 128)],
  "r2plus1d_18": [(16, 112, 112), (8, 100, 128)],
  "s3d": [(16, 224, 224), (31, 250, 224)],
  "i3d": [(16, 224, 224), (31, 250, 224)],
  "c3d": [(16, 112, 112)],
}
QUICK = ("x3d_xs", "r2plus1d_18", "c3d")


@pytest.mark.parametrize(
  "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NETWORKS]
)
def test_logits_are_those_of_pytorch(name):
  pytest.importorskip("pytorchvideo")
  theirs = randomize(peers.network(name))
  state = theirs.state_dict()
  ours, variables = interop.video_model(name, state), interop.from_torch(name, state)
  assert jax.tree.leaves(variables)[0].dtype == np.float32
  apply = jax.jit(ours.apply)
  for size in NETWORKS[name]:
    clip = np.random.default_rng(1).standard_normal((1, *size, 3)).astype(np.float32)
    given = peers.inputs(torch.from_numpy(clip.transpose(0, 4, 1, 2, 3)), getattr(ours, "alpha", 0))
    with torch.no_grad():
      expected = theirs(given).numpy()
    found = np.asarray(apply(variables, clip))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.ptp(expected) > 0.1

  back = interop.to_torch(name, variables, model=ours)
  kept = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
  assert set(back) == set(kept)
  assert all(np.array_equal(back[key], value.numpy()) for key, value in kept.items())
  theirs.load_state_dict({key: torch.from_numpy(value) for key, value in back.items()})
