"""Graph networks: equations, permutations, padding, dense and sparse alike, gradients, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqlab import graph
from vqlab.graph import DenseEdges, GATConv, GCNConv, GINConv, GraphEncoder, SAGEConv, SparseEdges

CONVS = [GINConv, GCNConv, SAGEConv, GATConv]
B, N, F = 3, 9, 5


def batch(seed=0):
  """Graphs of 9, 6 and 1 nodes, padded to 9."""
  rng = np.random.default_rng(seed)
  mask = np.arange(N) < np.array([9, 6, 1])[:, None]
  upper = np.triu(rng.random((B, N, N)) < 0.4, 1)
  adjacency = (upper | upper.transpose(0, 2, 1)) & mask[:, None] & mask[:, :, None]
  return jnp.asarray(adjacency), jnp.asarray(rng.normal(size=(B, N, F))), jnp.asarray(mask)


def encoder(conv, **fields):
  sizes = {"layers": 2, "hidden": 8, "dim": 6, "dropout": 0.0, "param_dtype": jnp.float64}
  return GraphEncoder(conv=conv, **sizes | fields)


def made(model, adjacency, features, mask):
  """Variables whose batch norms' statistics are not those of the start."""
  edges = DenseEdges(adjacency)
  variables = model.init(jax.random.key(0), edges, features, mask=mask)
  _, stats = model.apply(
    variables,
    edges,
    features,
    mask=mask,
    train=True,
    mutable=["batch_stats"],
    rngs={"dropout": jax.random.key(9)},
  )
  return variables | stats


@pytest.mark.parametrize("conv", CONVS)
def test_permutations_and_padding_change_nothing(x64, conv):
  adjacency, features, mask = batch()
  model = encoder(conv)
  variables = made(model, adjacency, features, mask)

  def run(adjacency, features, mask):
    edges, options = DenseEdges(adjacency), {"mask": mask, "mutable": ["batch_stats"]}
    trained = model.apply(variables, edges, features, train=True, **options)
    return model.apply(variables, edges, features, mask=mask), trained

  expected = run(adjacency, features, mask)
  np.testing.assert_allclose(np.linalg.norm(expected[0], axis=1), 1)
  order = np.random.default_rng(1).permutation(N)
  moved = run(adjacency[:, order][:, :, order], features[:, order], mask[:, order])
  assert_close(moved, expected)
  # What stands where there is no node, and more such places.
  noise = jnp.where(mask[..., None], features, jnp.nan)
  wider = [jnp.pad(x, ((0, 0), (0, 4)) + ((0, 4),) * (i == 0) + ((0, 0),) * (i == 1))
           for i, x in enumerate((adjacency, noise, mask))]  # fmt: skip
  assert_close(run(*wider), expected)


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("readout", ["sum", "mean", "max"])
def test_a_sparse_graph_is_encoded_as_a_dense_one(x64, conv, readout):
  adjacency, features, mask = batch(1)
  adjacency = adjacency.at[0, 8].set(False).at[0, :, 8].set(False)  # a node without neighbours
  model = encoder(conv, readout=readout)
  variables = made(model, adjacency, features, mask)
  g = graph.from_edges(*np.nonzero(np.asarray(adjacency[0])), N)

  def loss(variables, edges, features):
    return jnp.sum(jnp.sin(model.apply(variables, edges, features)))

  both = [
    jax.value_and_grad(loss)(variables, DenseEdges(adjacency[:1]), features[:1]),
    jax.value_and_grad(loss)(variables, SparseEdges.of(g), features[0]),
  ]
  assert_close(*both)


@pytest.mark.parametrize("conv", CONVS)
def test_a_layer_is_its_equation(x64, conv):
  adjacency, h, _ = batch(2)
  a, x = np.asarray(adjacency[0], float), np.asarray(h[0])
  layer = conv(features=8, param_dtype=jnp.float64)
  same = lambda x, name: x
  variables = layer.init(jax.random.key(0), DenseEdges(adjacency), h, same)
  params = jax.tree.map(np.asarray, variables["params"])
  of = lambda name, x: x @ params[name]["kernel"]
  d = a.sum(1, keepdims=True)
  both = a + np.eye(N)
  if conv is GINConv:
    expected = of("out", np.maximum(of("in", x + a @ x), 0))
  elif conv is GCNConv:
    expected = of("out", (both / np.sqrt((d + 1) * (d + 1).T)) @ x)
  elif conv is SAGEConv:
    expected = of("own", x) + of("beside", a @ x / np.maximum(d, 1))
  else:
    values = of("values", x).reshape(N, 2, 4)
    scores = of("own", x)[:, None] + of("other", x)[None]
    scores = np.exp(np.where(scores > 0, scores, 0.2 * scores)) * both[..., None]
    weights = scores / scores.sum(1, keepdims=True)
    expected = np.einsum("ijm,jfm->ifm", weights, values).reshape(N, 8)
  np.testing.assert_allclose(layer.apply(variables, DenseEdges(adjacency), h, same)[0], expected)


def test_every_parameter_gets_a_gradient(x64):
  adjacency, features, mask = batch()
  for conv in CONVS:
    model = encoder(conv)
    variables = made(model, adjacency, features, mask)

    def loss(params, model=model, variables=variables):
      out = model.apply(variables | {"params": params}, DenseEdges(adjacency), features, mask=mask)
      return jnp.sum(jnp.sin(3 * out))

    for path, grad in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(variables["params"])):
      assert np.abs(grad).max() > 0, (conv, path)


def test_training_on_several_devices_is_training_on_one(x64):
  count = min(4, jax.device_count())
  adjacency, features, mask = (jnp.concatenate([x] * 4) for x in batch(3))
  features *= jnp.arange(1.0, 1 + len(features))[:, None, None]
  model = encoder(GINConv, dropout=0.5)
  variables = made(model, adjacency, features, mask)

  def run(adjacency, features, mask, rows, axis_name=None):
    return model.apply(
      variables, DenseEdges(adjacency), features, mask=mask, train=True, rows=rows,
      axis_name=axis_name, rngs={"dropout": jax.random.key(1)}, mutable=["batch_stats"],
    )  # fmt: skip

  rows = jnp.arange(len(mask), dtype=jnp.int32)
  args = (adjacency, features, mask, rows)
  out, stats = run(*args)
  split = [x.reshape(count, -1, *x.shape[1:]) for x in args]
  many, many_stats = jax.pmap(
    lambda *args: run(*args, axis_name="i"), axis_name="i", devices=jax.devices()[:count]
  )(*split)
  np.testing.assert_allclose(np.asarray(many).reshape(out.shape), out, atol=1e-12)
  assert_close(jax.tree.map(lambda x: x[0], many_stats), stats)


def test_embeddings_do_not_depend_on_the_nodes_beside():
  rng = np.random.default_rng(0)
  g = graph.from_edges(*rng.integers(0, 30, (2, 60)), 30)
  model = graph.SubgraphEncoder(GraphEncoder(hidden=8, dim=6, layers=2), degree_dim=3)
  walk = graph.pcrec.Walk(steps=20, max_nodes=8, eigenvectors=4, max_hops=2)
  keys = jax.random.split(jax.random.key(0), 2)
  seen = graph.pcrec.see(keys[0], g, jnp.arange(2, dtype=jnp.int32), walk)
  variables = model.init(keys[1], *seen)
  embed = lambda nodes, **chunk: graph.pcrec.node_embeddings(
    model, variables, g, jnp.asarray(nodes, jnp.int32), keys[0], walk=walk, **chunk
  )
  together, alone = embed(range(30), chunk=8), embed([17], chunk=1)
  assert together.shape == (30, 6)
  np.testing.assert_allclose(together[17:18], alone, atol=1e-6)


def assert_close(ours, theirs):
  """Trees of one structure, but for axes of length 1 before an array's."""
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(np.squeeze(a), np.squeeze(b), rtol=1e-9, atol=1e-9)
