"""ML-VAE's objective, strategies and operations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.autoencoders import mlvae
from vqlab.losses import Gaussian, normal_kl

N, GROUPS = 12, 3
IDS = np.repeat(np.arange(GROUPS), (6, 1, 5)).astype(np.int32)
MODEL = mlvae.MLVAE((4, 4, 1), content_dim=3, style_dim=2, hidden=(16,))
CONV = mlvae.ConvMLVAE((8, 8, 1), content_dim=3, style_dim=2, channels=(4, 8), hidden=16)
VECTORS = mlvae.MLVAE((7,), content_dim=3, style_dim=2, hidden=(), likelihood=Gaussian(0.5))


def data(model):
  x = jax.random.uniform(jax.random.key(0), (N, *model.shape))
  return x, model.init(jax.random.key(1), x)["params"]


@pytest.fixture(scope="module")
def setup():
  return data(MODEL)


def objective(params, x, key, *, model=MODEL, ids=IDS, num_groups=GROUPS, weights=None, **options):
  out = mlvae.forward(model, params, x, ids, num_groups, key, **options)
  terms = mlvae.losses(model, out, x)
  return mlvae.loss(terms, **(weights or {})), (out, terms)


grad = jax.jit(
  jax.value_and_grad(objective, has_aux=True),
  static_argnames=("model", "num_groups", "share_content_sample", "variance"),
)
KEY = jax.random.key(2)


def close(a, b, **tolerance):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_the_papers_size_for_mnist():
  model = mlvae.MLVAE((28, 28, 1))
  params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
  encoder = 784 * 500 + 500 + 4 * (500 * 10 + 10)
  decoder = 20 * 500 + 500 + 500 * 784 + 784
  assert sum(np.prod(p.shape) for p in jax.tree.leaves(params)) == encoder + decoder


@pytest.mark.parametrize("model", [MODEL, CONV, VECTORS], ids=["mlp", "conv", "vectors"])
def test_gradients_reach_every_parameter(model):
  """Those of the content heads above all, through the product of normals."""
  x, params = data(model)
  (value, (out, _)), grads = grad(params, x, KEY, model=model)
  assert np.isfinite(value) and out.decoded.shape == x.shape
  for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
    assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_the_loss_by_hand(setup):
  x, params = setup
  (value, (out, terms)), _ = grad(params, x, KEY)
  elbo = mlvae.group_elbo(terms, IDS, GROUPS)
  np.testing.assert_allclose(value, -np.sum(elbo) / GROUPS, rtol=1e-5)
  alone = mlvae.encode(MODEL, params, x)
  for group in range(GROUPS):
    rows = group == IDS
    content = mlvae.accumulate(*(v[rows] for v in alone.content), np.zeros(rows.sum(), np.int32), 1)
    kl = normal_kl(*content)[0]  # one a group, however many members
    np.testing.assert_allclose(np.sum(terms.content_kl[rows]), kl, rtol=1e-4)
    logits, own = np.float64(out.decoded)[rows], np.float64(x)[rows]
    likelihood = np.sum(own * logits - np.logaddexp(0, logits))
    style_kl = np.sum(normal_kl(*(v[rows] for v in alone.style)))
    np.testing.assert_allclose(elbo[group], likelihood - kl - style_kl, rtol=1e-5)


def test_weights_of_the_kls(setup):
  x, params = setup
  (value, (_, terms)), _ = grad(
    params, x, KEY, weights={"content_weight": 0.5, "style_weight": 3.0}
  )
  kls = 0.5 * np.sum(terms.content_kl) + 3 * np.sum(terms.style_kl)
  np.testing.assert_allclose(value, (np.sum(terms.reconstruction) + kls) / GROUPS, rtol=1e-5)


def test_masked_observations_count_for_nothing(setup):
  x, params = setup
  mask = jnp.asarray(np.arange(N) != 8)
  result = grad(params, x.at[8].set(jnp.nan), KEY, mask=mask)
  keep = np.flatnonzero(mask)
  without = grad(params, x[keep], KEY, ids=IDS[keep], index=keep.astype(np.int32))
  np.testing.assert_allclose(result[0][0], without[0][0], rtol=1e-6)
  close(result[1], without[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bad", [-1, GROUPS, 99])
def test_masked_observations_may_have_any_id(setup, bad):
  x, params = setup
  mask = np.arange(N) != 8
  ids = np.where(mask, IDS, bad).astype(np.int32)
  expected, result = (grad(params, x, KEY, mask=mask, ids=i) for i in (IDS, ids))
  np.testing.assert_array_equal(result[0][0], expected[0][0])
  close(result[1], expected[1], rtol=0)


def test_of_nothing_the_loss_is_0_and_an_id_of_no_group_shows(setup):
  x, params = setup
  (value, _), grads = grad(params, x, KEY, mask=np.zeros(N, bool))
  assert value == 0 and not any(np.any(g) for g in jax.tree.leaves(grads))
  (value, _), _ = grad(params, x, KEY, ids=np.where(np.arange(N) == 8, 9, IDS))
  assert np.isnan(value)


def test_binary_observations(setup):
  x, params = setup
  (value, _), _ = grad(params, x > 0.5, KEY)
  (same, _), _ = grad(params, (x > 0.5).astype(jnp.float32), KEY)
  np.testing.assert_allclose(value, same, rtol=1e-6)
  with pytest.raises(ValueError, match="observations are uint8; give values in"):
    objective(params, (x * 255).astype(jnp.uint8), KEY)


def test_what_is_drawn_goes_by_the_observations_numbers(setup):
  x, params = setup
  order = np.random.default_rng(0).permutation(N).astype(np.int32)
  (value, (out, _)), _ = grad(params, x, KEY)
  (shuffled, (other, _)), _ = grad(params, x[order], KEY, ids=IDS[order], index=order)
  np.testing.assert_allclose(other.decoded, out.decoded[order], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(value, shuffled, rtol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_content_samples_are_shared_or_not(setup, shared):
  """With a decoder that does not see style, all of a group look alike, or do not."""
  x, params = setup
  params = jax.tree.map(jnp.copy, params)
  kernel = params["decoder_layers_0"]["kernel"]
  params["decoder_layers_0"]["kernel"] = kernel.at[MODEL.content_dim :].set(0)
  (_, (out, _)), _ = grad(params, x, KEY, share_content_sample=shared)
  spread = np.ptp(out.decoded[:6], axis=0).max()
  assert (spread < 1e-5) == shared
  assert np.ptp(out.decoded[np.array([0, 6, 7])], axis=0).max() > 1e-2  # groups differ


def test_strategies(setup):
  x, params = setup
  alone, together = mlvae.infer(MODEL, params, x), mlvae.infer(MODEL, params, x, IDS, GROUPS)
  close(alone, mlvae.encode(MODEL, params, x), rtol=0)
  close(alone.style, together.style, rtol=0)
  close(
    jax.tree.map(lambda v: v[6], alone.content),  # a group of one
    jax.tree.map(lambda v: v[6], together.content),
    rtol=1e-6,
  )
  assert np.ptp(together.content.mu[:6], axis=0).max() == 0  # all know the same
  assert np.all(together.content.logvar[:6] < alone.content.logvar[:6])
  each = mlvae.infer(MODEL, params, x, np.arange(N, dtype=np.int32), N)
  close(alone, each, rtol=1e-6)  # k = 1 is strategy 1
  with pytest.raises(ValueError, match="num_groups is missing; strategy 2 takes group_ids and"):
    mlvae.infer(MODEL, params, x, IDS)


def test_swap_is_every_content_in_every_style(setup):
  x, params = setup
  found = mlvae.encode(MODEL, params, x)
  swapped = mlvae.swap(MODEL, params, found.content.mu[:3], found.style.mu[:5])
  assert swapped.shape == (3, 5, 4, 4, 1)
  one = mlvae.decode(MODEL, params, found.content.mu[2], found.style.mu[4])
  np.testing.assert_allclose(swapped[2, 4], one, rtol=1e-5)
  assert np.all((swapped > 0) & (swapped < 1))  # probabilities, not logits


def test_interpolate(setup):
  x, params = setup
  found = mlvae.encode(MODEL, params, x)
  latents = (found.content.mu, found.style.mu)
  start, end = ([z[rows] for z in latents] for rows in (slice(0, 2), slice(2, 4)))
  decode = lambda c, s: mlvae.decode(MODEL, params, c, s)
  along_content = mlvae.interpolate(MODEL, params, start, end, 5)
  assert along_content.shape == (2, 5, 4, 4, 1)
  np.testing.assert_allclose(along_content[:, 0], decode(*start), rtol=1e-5)
  np.testing.assert_allclose(along_content[:, -1], decode(end[0], start[1]), rtol=1e-5)
  middle = decode((start[0] + end[0]) / 2, start[1])
  np.testing.assert_allclose(along_content[:, 2], middle, rtol=1e-4)
  along_style = mlvae.interpolate(MODEL, params, start, end, 5, along="style")
  np.testing.assert_allclose(along_style[:, -1], decode(start[0], end[1]), rtol=1e-5)
  with pytest.raises(ValueError, match="num is 1; it must be at least 2"):
    mlvae.interpolate(MODEL, params, start, end, 1)
  with pytest.raises(ValueError, match="along is 'both'; it must be 'content' or 'style'"):
    mlvae.interpolate(MODEL, params, start, end, 3, along="both")


def test_integer_latents_are_interpolated_as_floats(setup):
  _, params = setup
  start, end = (
    (jnp.full((1, MODEL.content_dim), c), jnp.zeros((1, MODEL.style_dim))) for c in (0, 2)
  )
  found = mlvae.interpolate(MODEL, params, start, end, 5)
  middle = mlvae.decode(MODEL, params, jnp.full(MODEL.content_dim, 0.5), start[1][0])
  np.testing.assert_allclose(found[0, 1], middle, rtol=1e-5)


def test_group_ids_may_be_small_integers():
  content = jnp.arange(300.0)
  ids = jnp.arange(250)
  np.testing.assert_array_equal(mlvae.to_members(content, ids.astype(jnp.uint8)), content[:250])


def test_generate_draws_what_is_not_given():
  """With a decoder that copies its latents, what was drawn can be read off."""

  class Copy(nn.Module):
    likelihood: Gaussian = Gaussian()
    content_dim: int = 3
    style_dim: int = 2

    def decode(self, content, style):
      return jnp.concatenate([content, style], axis=-1)

  model = Copy()
  new = mlvae.generate(model, {}, KEY, 20_000)
  assert new.shape == (20_000, 5)
  np.testing.assert_allclose(new.mean(0), 0, atol=0.03)
  np.testing.assert_allclose(np.cov(new.T), np.eye(5), atol=0.05)
  content = jnp.arange(6.0).reshape(2, 3)
  styles = mlvae.generate(model, {}, KEY, 4, content=content)
  assert styles.shape == (2, 4, 5)
  np.testing.assert_array_equal(styles[..., :3], np.repeat(content[:, None], 4, axis=1))
  assert len(np.unique(styles[..., 3])) == 8
  style = jnp.array([7.0, 8.0])
  contents = mlvae.generate(model, {}, KEY, 4, style=style)
  assert contents.shape == (4, 5) and len(np.unique(contents[:, 0])) == 4
  np.testing.assert_array_equal(contents[:, 3:], np.tile(style, (4, 1)))
  with pytest.raises(ValueError, match="content and style are both given; call decode"):
    mlvae.generate(model, {}, KEY, 4, content=content, style=style)
  with pytest.raises(ValueError, match="num is 0; it must be at least 1"):
    mlvae.generate(model, {}, KEY, 0)


def test_groups_and_observations_over_devices_make_the_same_step(x64):
  """A pmap whose groups lie across devices gives the loss and gradient of one device."""
  devices = jax.device_count()
  if N % devices and devices > 4:
    devices = 4
  if devices < 2:
    pytest.skip("one device")
  model = mlvae.MLVAE((7,), 3, 2, hidden=(8,), likelihood=Gaussian(0.5), param_dtype=jnp.float64,
                      dtype=jnp.float64)  # fmt: skip
  x, params = data(model)
  ids = jnp.asarray([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 0], jnp.int32)
  index = jnp.arange(N, dtype=jnp.int32)

  def of_device(x, ids, index):
    step = jax.value_and_grad(objective, has_aux=True)
    options = {"ids": ids, "index": index, "axis_name": "d"}
    (value, _), grads = step(params, x, KEY, model=model, **options)
    return jax.lax.psum((value, grads), "d")

  split = lambda a: a.reshape(devices, N // devices, *a.shape[1:])
  mapped = jax.pmap(of_device, axis_name="d", devices=jax.devices()[:devices])
  value, grads = mapped(split(x), split(ids), split(index))
  (expected, _), whole = grad(params, x, KEY, model=model, ids=ids, index=index)
  np.testing.assert_allclose(value[0], expected, rtol=1e-12)
  close(jax.tree.map(lambda g: g[0], grads), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (
      lambda x, p: mlvae.encode(MODEL, p, x[:, :3]),
      r"must be \[N, 4, 4, 1\]; found \[12, 3, 4, 1\]",
    ),
    (lambda x, p: objective(p, x, KEY, ids=IDS[1:]), r"forward: group_ids must be int\[12\]"),
    (lambda x, p: objective(p, x, KEY, ids=IDS + 1), "group_ids run from 1 to 3; they must be"),
    (lambda x, p: objective(p, x, KEY, num_groups=4), "forward: group 3 of 4 is empty"),
    (lambda x, p: mlvae.MLVAE((3,), style_dim=0).init(KEY, x), "style_dim is 0; it must be"),
    (lambda x, p: mlvae.ConvMLVAE((6, 6, 1)).init(KEY, x), "H and W multiples of 4 for 2"),
    (lambda x, p: mlvae.ConvMLVAE((8, 8, 1), channels=()).init(KEY, x), "for 0 convolutions"),
    (lambda x, p: mlvae.MLVAE((3,), hidden=(0,)).init(KEY, x), "MLVAE: hidden is 0; it must be"),
    (
      lambda x, p: mlvae.swap(MODEL, p, jnp.zeros((4, 2)), jnp.zeros((4, 3))),
      r"content and style have \(2, 3\) dimensions; the model's have \(3, 2\)",
    ),
    (lambda x, p: mlvae.MLVAE((3,), content_dim=2.5).init(KEY, x), "content_dim is 2.5; it must"),
  ],
)
def test_bad_input(setup, call, message):
  with pytest.raises(ValueError, match=message):
    call(*setup)
