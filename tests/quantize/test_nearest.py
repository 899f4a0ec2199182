"""assign, lookup and quantize: what is chosen, what is masked, where gradients go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import quantize
from vqlab.quantize import nearest

N, K, D = 96, 37, 5


@pytest.fixture(scope="module")
def z() -> jax.Array:
  return jax.random.normal(jax.random.key(0), (4, 24, D))


@pytest.fixture(scope="module")
def codebook() -> jax.Array:
  return jax.random.normal(jax.random.key(1), (K, D))


def brute_force(z: np.ndarray, codebook: np.ndarray) -> np.ndarray:
  z, codebook = np.float64(z), np.float64(codebook)
  return np.argmin(np.square(z[..., None, :] - codebook).sum(-1), axis=-1)


@pytest.mark.parametrize("chunk_size", [None, 1, 7, K, 1000])
def test_assign_is_the_nearest_code_at_any_chunk_size(z, codebook, chunk_size):
  got = quantize.assign(z, codebook, chunk_size=chunk_size)
  assert got.dtype == jnp.int32
  np.testing.assert_array_equal(got, brute_force(z, codebook))


def test_cosine_is_the_largest_cosine_similarity(z, codebook):
  got = quantize.assign(z, codebook, metric="cosine")
  unit = lambda x: np.float64(x) / np.linalg.norm(np.float64(x), axis=-1, keepdims=True)
  np.testing.assert_array_equal(got, np.argmax(unit(z) @ unit(codebook).T, axis=-1))


def test_ties_take_the_lowest_index_across_chunks(z):
  codebook = jnp.zeros((20, D))
  for chunk_size in (None, 3):
    assert jnp.all(quantize.assign(z, codebook, chunk_size=chunk_size) == 0)


def test_values_are_exactly_the_codes(z, codebook):
  out = quantize.quantize(z, codebook)
  np.testing.assert_array_equal(out.codes, codebook[out.indices])
  np.testing.assert_array_equal(out.vectors, out.codes)
  np.testing.assert_array_equal(quantize.lookup(codebook, out.indices), out.codes)
  np.testing.assert_array_equal(quantize.assign(out.codes, codebook), out.indices)


def test_all_true_mask_equals_none_bit_for_bit(z, codebook):
  mask = jnp.ones(z.shape[:-1], bool)
  for a, b in zip(
    quantize.quantize(z, codebook), quantize.quantize(z, codebook, mask=mask), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def objective(z, codebook, mask):
  out = quantize.quantize(z, codebook, mask=mask)
  return (
    jnp.sum(out.vectors**2)
    + quantize.codebook_loss(z, out.codes, mask=mask)
    + 0.25 * quantize.commitment_loss(z, out.codes, mask=mask)
  )


def test_masked_vectors_influence_nothing_nan_included(z, codebook):
  mask = jax.random.bernoulli(jax.random.key(2), 0.6, z.shape[:-1])
  poisoned = jnp.where(mask[..., None], z, jnp.nan)
  run = jax.jit(jax.value_and_grad(objective, argnums=(0, 1)))
  (value, (dz, de)), (value_nan, (dz_nan, de_nan)) = (run(x, codebook, mask) for x in (z, poisoned))
  assert value == value_nan
  np.testing.assert_array_equal(dz, dz_nan)
  np.testing.assert_array_equal(de, de_nan)
  assert jnp.all(dz[~mask] == 0)
  out = quantize.quantize(poisoned, codebook, mask=mask)
  assert jnp.all(out.indices[~mask] == -1) and jnp.all(out.vectors[~mask] == 0)
  assert jnp.all(quantize.lookup(codebook, out.indices)[~mask] == 0)


def test_losses_of_an_empty_mask_are_zero(z, codebook):
  mask = jnp.zeros(z.shape[:-1], bool)
  value, grads = jax.value_and_grad(objective, argnums=(0, 1))(z * jnp.nan, codebook, mask)
  assert value == 0 and all(jnp.all(g == 0) for g in grads)


def test_gradients_reach_what_they_should_and_nothing_else(z, codebook):
  def grads(f):
    return jax.grad(lambda z, e: f(z, quantize.quantize(z, e)), argnums=(0, 1))(z, codebook)

  weights = jax.random.normal(jax.random.key(3), z.shape)
  dz, de = grads(lambda z, out: jnp.sum(weights * out.vectors))
  np.testing.assert_array_equal(dz, weights)  # the decoder's gradient, unchanged
  assert jnp.all(de == 0)

  dz, de = grads(lambda z, out: quantize.codebook_loss(z, out.codes))
  assert jnp.all(dz == 0) and jnp.any(de != 0)
  dz, de = grads(lambda z, out: quantize.commitment_loss(z, out.codes))
  assert jnp.any(dz != 0) and jnp.all(de == 0)
  indices = quantize.assign(z, codebook)
  expected = 2 * (z - codebook[indices]) / z.size
  np.testing.assert_allclose(dz, expected, atol=1e-7)


def test_reductions(z, codebook):
  codes = quantize.quantize(z, codebook).codes
  each = quantize.codebook_loss(z, codes, reduction="none")
  np.testing.assert_allclose(each, np.mean(np.square(z - codes), -1), rtol=1e-6)
  total = quantize.codebook_loss(z, codes, reduction="sum")
  np.testing.assert_allclose(total, each.sum(), rtol=1e-6)
  np.testing.assert_allclose(quantize.codebook_loss(z, codes), each.mean(), rtol=1e-6)


def test_bfloat16_keeps_float32_assignment(codebook):
  # Integers below 2**7 are exact in bfloat16; their products are not.
  z = jax.random.randint(jax.random.key(4), (2000, D), -127, 128).astype(jnp.float32)
  near = codebook * 60
  exact = quantize.assign(z, near)
  out = quantize.quantize(z.astype(jnp.bfloat16), near)
  np.testing.assert_array_equal(out.indices, exact)
  assert out.vectors.dtype == jnp.bfloat16 and out.codes.dtype == jnp.float32
  np.testing.assert_array_equal(exact, brute_force(z, near))


def test_codes_that_are_not_finite_are_nobodys_nearest():
  z = jnp.array([[4.9], [0.1]])
  for chunk_size in (None, 1, 2):
    for bad in (jnp.nan, jnp.inf):
      codebook = jnp.array([[0.0], [bad], [5.0]])
      assert list(quantize.assign(z, codebook, chunk_size=chunk_size)) == [2, 0]


def test_vectors_that_are_not_finite_get_the_index_0(z, codebook):
  for bad in (jnp.nan, jnp.inf, -jnp.inf):
    for chunk_size in (None, 1, 7):
      got = quantize.assign(
        z.at[0, 0].set(bad).at[1, 1, 2].set(bad), codebook, chunk_size=chunk_size
      )
      assert got[0, 0] == got[1, 1] == 0
      np.testing.assert_array_equal(got[2:], quantize.assign(z[2:], codebook))


@pytest.mark.parametrize(("mean", "spread"), [(100, 1), (30, 0.1), (100, 0.1), (1000, 0.1)])
def test_far_from_the_origin(mean, spread):
  rng = np.random.default_rng(0)
  z, codebook = ((mean + spread * rng.normal(size=(n, 64))).astype(np.float32) for n in (1000, 256))
  expected = brute_force(z, codebook)
  np.testing.assert_array_equal(quantize.assign(z, codebook), expected)
  for bad in (np.nan, np.inf):
    with_bad = np.concatenate([np.full((1, 64), bad, np.float32), codebook])
    np.testing.assert_array_equal(quantize.assign(z, with_bad), expected + 1)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e19, 1e30])
def test_at_any_scale(scale, metric, z, codebook):
  expected = quantize.assign(z, codebook, metric=metric)
  for chunk_size in (None, 7):
    got = quantize.assign(scale * z, scale * codebook, metric=metric, chunk_size=chunk_size)
    np.testing.assert_array_equal(got, expected)
  if metric == "cosine":
    got = quantize.assign(z, scale * codebook, metric=metric)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("chunk_size", [None, 1, 7])
def test_a_far_code_spoils_nobodys_scores(chunk_size, z, codebook):
  far = codebook.at[3].set(1e20)
  z = z.at[0, 0].set(0.9e20)
  got = quantize.assign(z, far, chunk_size=chunk_size)
  np.testing.assert_array_equal(got, brute_force(z, far))
  assert got[0, 0] == 3


@pytest.mark.parametrize(("dtype", "num_codes"), [("uint8", 256), ("int8", 128), ("uint8", 512)])
def test_indices_may_be_small_integers(dtype, num_codes):
  codebook = jax.random.normal(jax.random.key(0), (num_codes, 2))
  indices = jnp.arange(120)
  codes = quantize.lookup(codebook, indices.astype(dtype))
  np.testing.assert_array_equal(codes, codebook[:120])
  stats = quantize.assignment_stats(codes, indices.astype(dtype), num_codes=num_codes)
  assert jnp.sum(stats.counts) == 120


def test_exported_with_a_symbolic_batch(z, codebook):
  shapes = jax.export.symbolic_shape("b, 24, 5")
  call = jax.export.export(jax.jit(quantize.quantize))(
    jax.ShapeDtypeStruct(shapes, jnp.float32), jax.ShapeDtypeStruct((K, D), jnp.float32)
  )
  for x in (z, z[:1]):
    np.testing.assert_array_equal(call.call(x, codebook).indices, quantize.assign(x, codebook))


def test_the_bias_in_the_product_and_after_it(z, codebook):
  flat = z.reshape(-1, D)
  linear = lambda e: jnp.concatenate([-e, 0.5 * jnp.sum(e * e, axis=1, keepdims=True)], axis=1)
  for inside in (True, False):
    got = nearest._argmin(flat, codebook, linear, 7, inside)
    np.testing.assert_array_equal(got, brute_force(flat, codebook))


def test_one_codebook_a_device():
  devices = jax.device_count()
  mesh = jax.make_mesh((devices,), ("model",), (jax.sharding.AxisType.Auto,))
  books = jax.random.normal(jax.random.key(0), (devices, K, D))
  z = jax.random.normal(jax.random.key(1), (N, D))
  mapped = jax.shard_map(
    lambda z, e: quantize.assign(z, e[0])[None],
    mesh=mesh, in_specs=(jax.P(), jax.P("model")), out_specs=jax.P("model"),
  )  # fmt: skip
  for got, book in zip(jax.jit(mapped)(z, books), books, strict=True):
    np.testing.assert_array_equal(got, brute_force(z, book))


def test_jit_and_vmap_over_codebooks_change_nothing(z, codebook):
  plain = quantize.quantize(z, codebook)
  jitted = jax.jit(quantize.quantize)(z, codebook)
  books = jnp.stack([codebook, codebook[::-1]])
  mapped = jax.vmap(quantize.assign, in_axes=(None, 0))(z, books)
  np.testing.assert_array_equal(plain.indices, jitted.indices)
  np.testing.assert_array_equal(mapped[0], plain.indices)
  np.testing.assert_array_equal(mapped[1], K - 1 - plain.indices)


def test_never_n_by_k_in_memory():
  """Temporary memory of a whole quantizer step at N = 65,536, K = 8,192, D = 64."""
  n, k, d = 65_536, 8_192, 64
  update = quantize.chain(quantize.ema(0.99), quantize.revive(0.01))

  def step(z, state, key):
    def loss(z):
      out = quantize.quantize(z, state.codebook)
      return jnp.sum(out.vectors) + quantize.commitment_loss(z, out.codes), out.indices

    grad, indices = jax.grad(loss, has_aux=True)(z)
    stats = quantize.assignment_stats(z, indices, num_codes=k, key=key, num_candidates=k)
    return grad, update(state, stats, key)

  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(lambda: quantize.init(jax.random.key(0), k, d))
  z = jax.ShapeDtypeStruct((n, d), jnp.float32)
  compiled = jax.jit(step).lower(z, state, key).compile()
  assert compiled.memory_analysis().temp_size_in_bytes <= 200e6


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda z, e: quantize.assign(z[..., :3], e), r"last axis of z must be the codebook's D = 5"),
    (lambda z, e: quantize.assign(z, e[0]), r"must be \[K, D\]"),
    (lambda z, e: quantize.assign(z.astype(jnp.int32), e), r"z must be floating point"),
    (lambda z, e: quantize.assign(z, e, chunk_size=0), r"chunk_size is 0"),
    (lambda z, e: quantize.assign(z, e, metric="manhattan"), r"metric is 'manhattan'"),
    (lambda z, e: quantize.quantize(z, e, mask=jnp.ones(4, bool)), r"mask must be bool\[4, 24\]"),
    (lambda z, e: quantize.quantize(z, e, mask=jnp.ones((4, 24))), r"mask must be bool\[4, 24\]"),
    (lambda z, e: quantize.lookup(e, z), r"integer indices"),
    (lambda z, e: quantize.codebook_loss(z, e), r"must both be floating point \[..., D\]"),
    (lambda z, e: quantize.commitment_loss(z, z, reduction="avg"), r"reduction is 'avg'"),
    (lambda z, e: quantize.init(jax.random.key(0), 0, 4), r"num_codes is 0"),
    (lambda z, e: quantize.init(jax.random.key(0), 4, -1), r"dim is -1"),
  ],
)
def test_bad_input_is_named(z, codebook, call, message):
  with pytest.raises(ValueError, match=message):
    call(z, codebook)
