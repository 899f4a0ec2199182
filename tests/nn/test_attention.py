"""Strictly causal attention: the whole sequence, step by step, and by the formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab.nn import CausalAttention, attention

B, T, Q, C, N, A = 2, 5, 3, 4, 2, 6


@pytest.fixture
def setting(x64):
  layer = CausalAttention(N, A, dtype=jnp.float64, param_dtype=jnp.float64)
  keys = jax.random.split(jax.random.key(0), 3)
  query = jax.random.normal(keys[0], (B, T, Q), jnp.float64)
  key = jax.random.normal(keys[1], (B, T, C), jnp.float64)
  return layer, layer.init(keys[2], query, key), query, key


def test_equals_the_formula_and_the_steps(setting):
  layer, variables, query, key = setting
  found = np.asarray(layer.apply(variables, query, key))
  p = variables["params"]
  q = query @ p["query"]["kernel"]
  k, v = np.split(key @ p["key_value"]["kernel"], 2, axis=-1)
  for n in range(N):
    head = slice(n * A // N, (n + 1) * A // N)
    for t in range(T):
      scores = np.einsum("bd,bsd->bs", q[:, t, head], k[:, :t, head]) / np.sqrt(A // N)
      weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
      expected = np.einsum("bs,bsd->bd", weights, v[:, :t, head])  # 0 where t is
      np.testing.assert_allclose(found[:, t, head], expected, atol=1e-12)
  cache = layer.apply(variables, B, T, method="init_cache")
  step = jax.jit(lambda *args: layer.apply(variables, *args, method="step"))
  for t in range(T):
    cache, out = step(cache, query[:, t], key[:, t], jnp.int32(t))
    np.testing.assert_allclose(out, found[:, t], atol=1e-12)


def test_softmax_of_scores_in_bfloat16_is_in_float32():
  scores = (4 * jax.random.normal(jax.random.key(0), (3, T, T))).astype(jnp.bfloat16)
  mask = jnp.tril(jnp.ones((T, T), bool), k=-1)
  found = attention.masked_softmax(scores, mask, 0.3)
  assert found.dtype == jnp.float32
  exact = np.exp(0.3 * np.asarray(scores, np.float64)) * np.asarray(mask)
  exact = exact / np.maximum(exact.sum(-1, keepdims=True), 1e-300)
  np.testing.assert_allclose(found, exact, atol=1e-6)


def test_heads_that_do_not_divide_are_named():
  layer = CausalAttention(4, A, dtype=jnp.float32)
  with pytest.raises(ValueError, match="num_heads is 4; it must divide the 6 attention channels"):
    layer.init(jax.random.key(0), jnp.zeros((B, T, Q)), jnp.zeros((B, T, C)))
