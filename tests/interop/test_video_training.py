"""One training step of small networks is PyTorch's: gradients, and the statistics that are kept.

In double precision, as norms over few positions make much of the last bits of float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vqlab import interop, video

torch = pytest.importorskip("torch")
from benchmarks.peers import pytorchvideo_hub, torchvision_video  # noqa: E402
from benchmarks.peers import video as peers  # noqa: E402
from benchmarks.peers.random_weights import randomize  # noqa: E402

CLASSES = 5


def small_r2plus1d():
  theirs = torchvision_video.network(
    "r2plus1d_18", classes=CLASSES, width=4, depth=1, stem_middle=5
  )
  return theirs, video.create("r2plus1d_18", CLASSES, width=4, depths=(1,) * 4, stem_middle=5)


def small_slowfast():
  pytest.importorskip("pytorchvideo")
  theirs = pytorchvideo_hub.made(
    "slowfast",
    "create_slowfast",
    model_depth=18,
    model_num_class=CLASSES,
    dropout_rate=0,
    stem_dim_outs=(8, 2),
    slowfast_channel_reduction_ratio=(4,),
    head_pool_kernel_sizes=((2, 1, 1), (8, 1, 1)),
  )
  ours = video.create(
    "slowfast_8x8_r50",
    CLASSES,
    width=8,
    beta=4,
    depths=(1,) * 4,
    dropout=0.0,
    pool=(1, 1),
  )
  return theirs, ours


def small_x3d():
  pytest.importorskip("pytorchvideo")
  theirs = pytorchvideo_hub.made(
    "x3d",
    "create_x3d",
    input_clip_length=4,
    input_crop_size=32,
    model_num_class=CLASSES,
    dropout_rate=0,
    width_factor=0.67,
    depth_factor=0.5,
    head_dim_out=16,
  )
  ours = video.create(
    "x3d_s",
    CLASSES,
    stem_width=8,
    widths=(8, 16, 32, 64),
    depths=(1, 1, 3, 2),
    hidden=16,
    dropout=0.0,
    pool=(4, 1, 1),
  )
  return theirs, ours


@pytest.mark.filterwarnings("ignore:'saved_variables' is deprecated")  # by pytorchvideo's Swish
@pytest.mark.parametrize(
  ("name", "make", "frames"),
  [
    ("r2plus1d_18", small_r2plus1d, 8),
    ("slowfast_8x8_r50", small_slowfast, 8),
    ("x3d_s", small_x3d, 4),
  ],
)
def test_a_training_step_is_that_of_pytorch(name, make, frames, x64):
  theirs, ours = make()
  ours = ours.clone(dtype=jnp.float64, param_dtype=jnp.float64)
  randomize(theirs).double().train()
  state = {key: value.numpy().copy() for key, value in theirs.state_dict().items()}
  variables = interop.from_torch(name, state, model=ours)
  rng = np.random.default_rng(0)
  clip = rng.standard_normal((4, frames, 32, 32, 3))
  labels = rng.integers(CLASSES, size=4)

  counts = {}
  for key, module in theirs.named_modules():
    if isinstance(module, torch.nn.BatchNorm3d):
      module.register_forward_hook(
        lambda module, inputs, output, key=key: counts.update({key: output[:, 0].numel()})
      )
  given = peers.inputs(torch.from_numpy(clip.transpose(0, 4, 1, 2, 3)), getattr(ours, "alpha", 0))
  loss = torch.nn.functional.cross_entropy(theirs(given), torch.from_numpy(labels))
  loss.backward()

  @jax.jit
  def step(params, batch_stats):
    def loss(params):
      logits, updates = ours.apply(
        {"params": params, "batch_stats": batch_stats}, clip, train=True, mutable=["batch_stats"]
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels))
      return losses.mean(), updates["batch_stats"]

    return jax.value_and_grad(loss, has_aux=True)(params)

  (found, statistics), gradients = step(variables["params"], variables["batch_stats"])
  assert found == pytest.approx(loss.item(), rel=1e-9)

  # Both as PyTorch names them.
  found = interop.to_torch(name, {"params": gradients, "batch_stats": statistics}, model=ours)
  expected = {key: p.grad.numpy() for key, p in theirs.named_parameters()}
  for key, value in theirs.state_dict().items():
    if key.endswith("running_mean"):
      expected[key] = value.numpy()
    elif key.endswith("running_var"):  # PyTorch keeps the unbiased one
      count = counts[key.removesuffix(".running_var")]
      kept = 0.9 * state[key]
      expected[key] = kept + (value.numpy() - kept) * (count - 1) / count
  assert set(found) == set(expected)
  largest = max(np.abs(p.grad.numpy()).max() for p in theirs.parameters())
  for key, value in expected.items():
    scale = 1 if "running" in key else max(np.abs(value).max(), 1e-2 * largest)
    assert np.abs(found[key] - value).max() <= 1e-6 * scale, key
