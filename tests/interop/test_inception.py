"""Inception-v3 of FID: the published architecture, written in PyTorch, gives the same features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import features, interop

torch = pytest.importorskip("torch", reason="peer PyTorch not installed")
F = torch.nn.functional


class Reference:
  """The network as functions of a state dict, which it fills with random weights as it goes."""

  def __init__(self):
    self.state_dict = {}
    self.random = torch.Generator().manual_seed(0)

  def weight(self, key, make):
    if key not in self.state_dict:
      self.state_dict[key] = make()
    return self.state_dict[key]

  def conv(self, x, name, out, kernel=1, stride=1, padding=0):
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    normal = lambda *shape: torch.randn(*shape, generator=self.random)
    uniform = lambda low, high: low + (high - low) * torch.rand(out, generator=self.random)
    into = x.shape[1]
    weight = self.weight(
      f"{name}.conv.weight", lambda: normal(out, into, kh, kw) * (2 / (into * kh * kw)) ** 0.5
    )
    scale = self.weight(f"{name}.bn.weight", lambda: uniform(0.5, 1.5))
    bias = self.weight(f"{name}.bn.bias", lambda: uniform(-0.3, 0.3))
    mean = self.weight(f"{name}.bn.running_mean", lambda: uniform(-0.2, 0.2))
    var = self.weight(f"{name}.bn.running_var", lambda: uniform(0.5, 1.5))
    self.weight(f"{name}.bn.num_batches_tracked", lambda: torch.tensor(7))
    x = F.conv2d(x, weight, stride=stride, padding=padding)
    return F.relu(F.batch_norm(x, mean, var, scale, bias, eps=1e-3))

  def average(self, x):
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

  def block_a(self, x, name, pooled):
    b = lambda x, branch, *args, **kw: self.conv(x, f"{name}.{branch}", *args, **kw)
    five = b(b(x, "branch5x5_1", 48), "branch5x5_2", 64, 5, padding=2)
    three = b(b(x, "branch3x3dbl_1", 64), "branch3x3dbl_2", 96, 3, padding=1)
    three = b(three, "branch3x3dbl_3", 96, 3, padding=1)
    return torch.cat(
      [b(x, "branch1x1", 64), five, three, b(self.average(x), "branch_pool", pooled)], 1
    )

  def block_b(self, x, name):
    b = lambda x, branch, *args, **kw: self.conv(x, f"{name}.{branch}", *args, **kw)
    double = b(b(x, "branch3x3dbl_1", 64), "branch3x3dbl_2", 96, 3, padding=1)
    double = b(double, "branch3x3dbl_3", 96, 3, stride=2)
    return torch.cat([b(x, "branch3x3", 384, 3, stride=2), double, F.max_pool2d(x, 3, 2)], 1)

  def block_c(self, x, name, width):
    b = lambda x, branch, *args, **kw: self.conv(x, f"{name}.{branch}", *args, **kw)
    wide, tall = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
    single = b(b(x, "branch7x7_1", width), "branch7x7_2", width, **wide)
    single = b(single, "branch7x7_3", 192, **tall)
    double = b(b(x, "branch7x7dbl_1", width), "branch7x7dbl_2", width, **tall)
    double = b(b(double, "branch7x7dbl_3", width, **wide), "branch7x7dbl_4", width, **tall)
    double = b(double, "branch7x7dbl_5", 192, **wide)
    return torch.cat(
      [b(x, "branch1x1", 192), single, double, b(self.average(x), "branch_pool", 192)], 1
    )

  def block_d(self, x, name):
    b = lambda x, branch, *args, **kw: self.conv(x, f"{name}.{branch}", *args, **kw)
    three = b(b(x, "branch3x3_1", 192), "branch3x3_2", 320, 3, stride=2)
    seven = b(b(x, "branch7x7x3_1", 192), "branch7x7x3_2", 192, (1, 7), padding=(0, 3))
    seven = b(seven, "branch7x7x3_3", 192, (7, 1), padding=(3, 0))
    seven = b(seven, "branch7x7x3_4", 192, 3, stride=2)
    return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)

  def block_e(self, x, name, pool):
    b = lambda x, branch, *args, **kw: self.conv(x, f"{name}.{branch}", *args, **kw)
    wide, tall = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
    three = b(x, "branch3x3_1", 384)
    double = b(b(x, "branch3x3dbl_1", 448), "branch3x3dbl_2", 384, 3, padding=1)
    return torch.cat(
      [
        b(x, "branch1x1", 320),
        b(three, "branch3x3_2a", 384, **wide),
        b(three, "branch3x3_2b", 384, **tall),
        b(double, "branch3x3dbl_3a", 384, **wide),
        b(double, "branch3x3dbl_3b", 384, **tall),
        b(pool(x), "branch_pool", 192),
      ],
      1,
    )

  @torch.no_grad()
  def __call__(self, x):
    mean = lambda x: x.mean((2, 3))
    x = self.conv(x, "Conv2d_1a_3x3", 32, 3, stride=2)
    x = self.conv(x, "Conv2d_2a_3x3", 32, 3)
    x = self.conv(x, "Conv2d_2b_3x3", 64, 3, padding=1)
    x = F.max_pool2d(x, 3, 2)
    outputs = [mean(x)]
    x = self.conv(x, "Conv2d_3b_1x1", 80)
    x = F.max_pool2d(self.conv(x, "Conv2d_4a_3x3", 192, 3), 3, 2)
    outputs.append(mean(x))
    for name, pooled in (("5b", 32), ("5c", 64), ("5d", 64)):
      x = self.block_a(x, f"Mixed_{name}", pooled)
    x = self.block_b(x, "Mixed_6a")
    for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
      x = self.block_c(x, f"Mixed_{name}", width)
    outputs.append(mean(x))
    x = self.block_d(x, "Mixed_7a")
    x = self.block_e(x, "Mixed_7b", self.average)
    x = self.block_e(x, "Mixed_7c", lambda x: F.max_pool2d(x, 3, 1, padding=1))
    pool = mean(x)
    normal = lambda *shape: torch.randn(*shape, generator=self.random)
    weight = self.weight("fc.weight", lambda: normal(1008, 2048) / 2048**0.5)
    bias = self.weight("fc.bias", lambda: normal(1008))
    return [*outputs, pool, pool @ weight.T, pool @ weight.T + bias]


@pytest.fixture(scope="module")
def reference():
  x = 2 * torch.rand(2, 3, 107, 139, generator=torch.Generator().manual_seed(1)) - 1
  network = Reference()
  return network(x), x.permute(0, 2, 3, 1).numpy(), network.state_dict


def test_all_outputs_agree(reference):
  wanted, images, state_dict = reference
  assert len(state_dict) == 94 * 6 + 2  # convolutions, each with its norm
  variables = interop.from_torch("inception_v3", state_dict)
  found = jax.jit(features.InceptionV3().apply)(variables, jnp.asarray(images))
  for name, mine, theirs in zip(found._fields, found, wanted, strict=True):
    theirs = theirs.numpy()
    assert np.std(theirs) > 1e-2, name
    np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3 * np.std(theirs), err_msg=name)


def test_keys_that_training_leaves_are_ignored(reference):
  _, _, state_dict = reference
  plain = {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
  trained = {
    f"module.{key}": value
    for key, value in {**plain, "AuxLogits.conv0.conv.weight": torch.zeros(128, 768, 1, 1)}.items()
  }
  same = jax.tree.map(
    np.array_equal,
    interop.from_torch("inception_v3", plain),
    interop.from_torch("inception_v3", trained),
  )
  assert jax.tree.all(same)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda d: d.pop("fc.bias"), r"missing: fc\.bias"),
    (lambda d: d.update(more=torch.zeros(1)), "unexpected: more"),
    (
      lambda d: d.update({"fc.weight": torch.zeros(1000, 2048)}),
      r"'fc.weight' has shape \[1000, 2048\]; expected \[1008, 2048\]",
    ),
    (
      lambda d: d.pop("Mixed_6c.branch7x7_2.bn.running_var"),
      r"missing: Mixed_6c\.branch7x7_2\.bn\.running_var",
    ),
    (
      # (7, 1) where (1, 7) belongs
      lambda d: d.update({"Mixed_6b.branch7x7_2.conv.weight": torch.zeros(128, 128, 7, 1)}),
      r"has shape \[128, 128, 7, 1\]; expected \[128, 128, 1, 7\]",
    ),
  ],
)
def test_what_does_not_fit_is_named(reference, change, message):
  state_dict = dict(reference[2])
  change(state_dict)
  with pytest.raises(ValueError, match=message):
    interop.from_torch("inception_v3", state_dict)
