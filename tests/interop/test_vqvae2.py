"""rosinality's VQ-VAE-2, written in PyTorch from its description: images, codes, training agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import interop, quantize
from vqlab.autoencoders import vqvae2

torch = pytest.importorskip("torch", reason="peer PyTorch not installed")
nn, F = torch.nn, torch.nn.functional

MODEL = vqvae2.VQVAE2(residual_channels=32)
FORWARD, DECODE = (jax.jit(f, static_argnums=0) for f in (vqvae2.forward, vqvae2.decode))


class Residual(nn.Module):
  def __init__(self, channels, inner):
    super().__init__()
    self.conv = nn.Sequential(
      nn.ReLU(), nn.Conv2d(channels, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, channels, 1)
    )

  def forward(self, x):
    return x + self.conv(x)


def stack(*layers, sizes, tail=()):
  channels, inner, blocks = sizes
  residual = [Residual(channels, inner) for _ in range(blocks)]
  return nn.ModuleDict({"blocks": nn.Sequential(*layers, *residual, nn.ReLU(), *tail)})


class Quantizer(nn.Module):
  """Codes by columns; averages without debiasing."""

  def __init__(self, dim, num_codes, decay=0.99, eps=1e-5):
    super().__init__()
    self.decay, self.eps = decay, eps
    embed = torch.randn(dim, num_codes)
    self.register_buffer("embed", embed)
    self.register_buffer("cluster_size", torch.zeros(num_codes))
    self.register_buffer("embed_avg", embed.clone())

  def forward(self, z):  # [B, h, w, D]
    distances = torch.cdist(z.flatten(0, 2)[None].double(), self.embed.T[None].double())[0]
    indices = distances.argmin(1).view(z.shape[:-1])
    return self.embed.T[indices], indices, distances.sort(1).values

  def update(self, z, indices):
    one_hot = F.one_hot(indices.flatten(), self.embed.shape[1]).to(z)
    flat = z.flatten(0, -2)
    self.cluster_size.mul_(self.decay).add_(one_hot.sum(0), alpha=1 - self.decay)
    self.embed_avg.mul_(self.decay).add_(flat.T @ one_hot, alpha=1 - self.decay)
    n, k = self.cluster_size.sum(), self.embed.shape[1]
    smoothed = (self.cluster_size + self.eps) / (n + k * self.eps) * n
    self.embed.copy_(self.embed_avg / smoothed)


class Torch(nn.Module):
  def __init__(self, channels=128, inner=32, blocks=2, dim=64, num_codes=512):
    super().__init__()
    conv, up, relu = nn.Conv2d, nn.ConvTranspose2d, nn.ReLU
    down = lambda a, b: conv(a, b, 4, stride=2, padding=1)
    C, half, D, sizes = channels, channels // 2, dim, (channels, inner, blocks)
    first = [down(3, half), relu(), down(half, C), relu(), conv(C, C, 3, padding=1)]
    self.enc_b = stack(*first, sizes=sizes)
    self.enc_t = stack(down(C, half), relu(), conv(half, C, 3, padding=1), sizes=sizes)
    self.quantize_conv_t = conv(C, D, 1)
    self.quantize_t = Quantizer(D, num_codes)
    self.dec_t = stack(conv(D, C, 3, padding=1), sizes=sizes, tail=[up(C, D, 4, 2, 1)])
    self.quantize_conv_b = conv(D + C, D, 1)
    self.quantize_b = Quantizer(D, num_codes)
    self.upsample_t = up(D, D, 4, 2, 1)
    tail = [up(C, half, 4, 2, 1), relu(), up(half, 3, 4, 2, 1)]
    self.dec = stack(conv(2 * D, C, 3, padding=1), sizes=sizes, tail=tail)

  def forward(self, x):
    last = lambda y: y.permute(0, 2, 3, 1)
    first = lambda y: y.permute(0, 3, 1, 2)
    bottom = self.enc_b["blocks"](x)
    top = self.enc_t["blocks"](bottom)
    quant_t, top_codes, top_distances = self.quantize_t(last(self.quantize_conv_t(top)))
    quant_t = first(quant_t)
    z = self.quantize_conv_b(torch.cat([self.dec_t["blocks"](quant_t), bottom], 1))
    quant_b, bottom_codes, bottom_distances = self.quantize_b(last(z))
    joined = torch.cat([self.upsample_t(quant_t), first(quant_b)], 1)
    out = last(self.dec["blocks"](joined))
    return out, (top_codes, bottom_codes), (top_distances, bottom_distances)


@pytest.fixture(scope="module")
def theirs():
  torch.manual_seed(0)
  model = Torch().eval()
  with torch.no_grad():
    for quantizer in (model.quantize_t, model.quantize_b):  # the bottom's vectors depend on the top
      z = {}
      hook = quantizer.register_forward_hook(lambda _, args, out: z.update(z=args[0]))  # noqa: B023
      model(2 * torch.rand(8, 3, 64, 64) - 1)
      hook.remove()
      z = z["z"].flatten(0, 2)
      codes = z[torch.randint(len(z), (512,))]
      quantizer.embed.copy_((codes + 0.3 * z.std(0) * torch.randn_like(codes)).T)
      quantizer.cluster_size.uniform_(0.1, 9)
      quantizer.cluster_size[:20] = 1e-4  # so little that smoothing and debiasing show
      quantizer.embed_avg.copy_(quantizer.embed * quantizer.cluster_size)
  return model


def test_the_test_model_has_the_published_size(theirs):
  assert sum(p.numel() for p in theirs.parameters()) == 1_388_867
  assert sum(b.numel() for b in theirs.buffers()) == 132_096


@pytest.mark.parametrize("prefix", ["", "module."])
def test_reconstructions_and_codes_agree(theirs, prefix):
  images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
  with torch.no_grad():
    wanted, codes, distances = theirs(torch.from_numpy(images).permute(0, 3, 1, 2))
  state_dict = {prefix + key: value for key, value in theirs.state_dict().items()}
  variables = interop.from_torch("vqvae2", state_dict)
  books = [state.codebook for state in variables["codebooks"]]
  out = FORWARD(MODEL, variables["params"], books, jnp.asarray(images))
  for found, mine, sorted_distances in zip(codes, out.quantized, distances, strict=True):
    gap = (sorted_distances[:, 1] - sorted_distances[:, 0]).view(found.shape).numpy()
    assert len(np.unique(found)) > 10 and np.mean(gap < 2e-6) < 0.02
    np.testing.assert_array_equal(mine.indices[gap >= 2e-6], found.numpy()[gap >= 2e-6])
  codes = [jnp.asarray(c.numpy()) for c in codes]
  decoded = DECODE(MODEL, variables["params"], books, codes)
  np.testing.assert_allclose(decoded, wanted.numpy(), atol=1e-4 * float(wanted.std()))


def test_training_of_the_codebook_goes_on(theirs):
  quantizer = Quantizer(64, 512)
  quantizer.load_state_dict(theirs.quantize_b.state_dict())
  state = interop.from_torch("vqvae2", theirs.state_dict())["codebooks"][1]
  np.testing.assert_array_equal(state.codebook, quantizer.embed.T.numpy())
  update = jax.jit(quantize.ema(0.99, unused="zero"))
  for seed in range(10):
    z = 0.1 * np.random.default_rng(seed).normal(size=(4, 8, 8, 64)).astype(np.float32)
    _, indices, _ = quantizer(torch.from_numpy(z))
    mine = quantize.assign(jnp.asarray(z), state.codebook)
    np.testing.assert_array_equal(mine, indices.numpy())
    quantizer.update(torch.from_numpy(z), indices)
    state = update(state, quantize.assignment_stats(jnp.asarray(z), mine, num_codes=512))
    np.testing.assert_allclose(state.codebook, quantizer.embed.T.numpy(), atol=1e-5)
  np.testing.assert_allclose(state.counts, quantizer.cluster_size.numpy(), rtol=1e-5)


def test_numpy_and_half_precision(theirs):
  arrays = {key: value.numpy() for key, value in theirs.state_dict().items()}
  half = {key: value.half() for key, value in theirs.state_dict().items()}
  exact, rough = interop.from_torch("vqvae2", arrays), interop.from_torch("vqvae2", half)
  kernel = lambda v: v["params"]["encoders_0"]["conv"]["kernel"]
  assert kernel(rough).dtype == jnp.float32
  np.testing.assert_allclose(kernel(rough), kernel(exact), atol=1e-3)
  narrow = {key: value.astype(jnp.bfloat16) for key, value in arrays.items()}
  rough = interop.from_torch("vqvae2", narrow)
  assert kernel(rough).dtype == jnp.float32
  np.testing.assert_allclose(kernel(rough), kernel(exact), atol=1e-2)


@pytest.mark.parametrize("blocks", [1, 3])
def test_other_sizes(blocks):
  torch.manual_seed(1)
  model = Torch(channels=16, inner=6, blocks=blocks, dim=5, num_codes=11).eval()
  images = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
  with torch.no_grad():
    wanted, codes, _ = model(torch.from_numpy(images).permute(0, 3, 1, 2))
  variables = interop.from_torch("vqvae2", model.state_dict())
  ours = vqvae2.VQVAE2(channels=16, residual_channels=6, num_residual_blocks=blocks, code_dim=5)
  books = [state.codebook for state in variables["codebooks"]]
  shapes = jax.eval_shape(ours.init, jax.random.key(0), jnp.asarray(images), books)
  assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, shapes["params"])
  decoded = DECODE(ours, variables["params"], books, [jnp.asarray(c.numpy()) for c in codes])
  np.testing.assert_allclose(decoded, wanted.numpy(), atol=1e-4 * float(wanted.std()))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda d: d.pop("dec.blocks.0.bias"), r"missing: dec\.blocks\.0\.bias"),
    (lambda d: d.update(extra=torch.zeros(1)), "unexpected: extra"),
    (lambda d: d.pop("enc_b.blocks.0.weight"), r"'enc_b.blocks.0.weight' is missing"),
    (
      lambda d: d.update({"dec.blocks.2.conv.3.bias": torch.zeros(4)}),
      r"'dec.blocks.2.conv.3.bias' has shape \[4\]; expected \[128\]",
    ),
    (
      # One key off: every tensor of the decoder's end has moved by a layer.
      lambda d: d.update({"dec.blocks.5.weight": d.pop("dec.blocks.4.weight")}),
      r"missing: dec.blocks.4.weight; unexpected: dec.blocks.5.weight",
    ),
    (
      lambda d: d.update({"quantize_t.embed": d["quantize_t.embed"].T}),
      r"'quantize_t.embed' has shape \[512, 64\]; expected \[64, 64\]",
    ),
    (
      lambda d: d.update({"quantize_conv_t.bias": np.full(64, np.nan, jnp.bfloat16)}),
      r"'quantize_conv_t.bias' holds NaN",
    ),
    (
      lambda d: d.update({"quantize_conv_t.bias": torch.zeros(64, dtype=torch.int32)}),
      r"'quantize_conv_t.bias' is int32; expected floating point",
    ),
    (
      lambda d: d.update({"quantize_conv_t.bias": np.full(64, "0")}),
      r"'quantize_conv_t.bias' is <U1; expected floating point",
    ),
    (lambda d: d.update({"extra": None}), "holds 'extra', no tensors, among them; give the"),
    (lambda d: d.update({7: d["quantize_conv_t.bias"]}), "key 7 of the state dict must be a str"),
    (
      lambda d: d.update({"quantize_conv_t.bias": torch.full((64,), torch.nan)}),
      r"'quantize_conv_t.bias' holds NaN",
    ),
  ],
)
def test_what_does_not_fit_is_named(theirs, change, message):
  state_dict = dict(theirs.state_dict())
  change(state_dict)
  with pytest.raises(ValueError, match=message):
    interop.from_torch("vqvae2", state_dict)


@pytest.mark.parametrize(
  ("found", "message"),
  [
    (None, "the state dict is a NoneType; it must map names to tensors"),
    ([1, 2], "the state dict is a list"),
    (
      {"model": {"a": np.zeros(1)}, "args": 3},
      r"holds no tensors but 'model', 'args'; give state_dict\['model'\]",
    ),
  ],
)
@pytest.mark.parametrize("name", ["inception_v3", "pixelsnail", "vqvae2"])
def test_what_is_no_state_dict_is_named(name, found, message):
  with pytest.raises(ValueError, match=message):
    interop.from_torch(name, found)


def test_unknown_names():
  with pytest.raises(ValueError, match="must be one of 'inception_v3', 'pixelsnail', 'vqvae2'"):
    interop.from_torch("vqgan", {})
  with pytest.raises(ValueError, match="must be one of 'vector_quantizer', 'vqvae'"):
    interop.from_haiku("vqvae2", {}, {})
