"""NumPy's float64 is taken as any array is: no warning that it will be float32."""

import jax
import numpy as np
import pytest

from vqlab import features, generation, graph, losses, metrics, quantize
from vqlab.autoencoders import mlvae, vqvae

KEY = jax.random.key(0)
Z, CODEBOOK = np.random.default_rng(0).normal(size=(6, 4)), np.eye(8, 4)
ONES, TARGETS = np.ones(6), np.array([1.0, -1, 1, 1, -1, -1])
LABELS, MASK = np.arange(6) % 2, np.ones(6, bool)
MODEL = vqvae.VQVAE(1, 4, 4, 1, 1, 4)
GROUPS = mlvae.MLVAE((4,), content_dim=4, style_dim=4, hidden=())
CLASSIFIER = features.LinearClassifier(num_classes=2)


def step():
  state = quantize.init(KEY, 8, 4)
  update = quantize.chain(quantize.ema(0.9), quantize.revive(0.1))
  return quantize.quantize_and_update(Z, state, KEY, update=update, mask=MASK)


def autoencoder():
  images = np.ones((1, 4, 4, 1))
  params = MODEL.init(KEY, images, (CODEBOOK,))["params"]
  out = vqvae.forward(MODEL, params, (CODEBOOK,), images)
  return vqvae.losses(out, images), vqvae.decode(
    MODEL, params, (CODEBOOK,), (LABELS[None, :4].reshape(1, 2, 2),)
  )


def groups():
  params = GROUPS.init(KEY, Z)["params"]
  x = np.abs(Z) / 9
  mlvae.losses(GROUPS, mlvae.forward(GROUPS, params, x, LABELS, 2, KEY), x)
  mlvae.interpolate(GROUPS, params, (Z, Z), (Z, Z), 3)
  return mlvae.generate(GROUPS, params, KEY, 2, content=Z)


def classifier():
  probe = features.fit_probe(KEY, Z, LABELS, model=CLASSIFIER, num_steps=2)
  return features.score_probe(CLASSIFIER, probe, Z, LABELS)


def recommending():
  users, items = np.arange(6), np.arange(6) % 4
  g = graph.from_interactions(users, items, 6, 4)
  final = graph.propagate(graph.propagation(g), np.ones((10, 3)))
  graph.negatives(jax.random.split(KEY, 6), g, users, num_users=6)
  graph.positives(jax.random.split(KEY, 6), g, users, num_users=6)
  graph.rank(users, Z, g, num_users=6, k=2, also=items[:, None])
  return graph.rank_by_vectors(users, np.ones((6, 3)), final[6:], g, num_users=6, k=2)


CALLS = {
  "quantize": lambda: quantize.quantize(Z, CODEBOOK),
  "lookup": lambda: quantize.lookup(CODEBOOK, LABELS),
  "step": step,
  "commitment_loss": lambda: quantize.commitment_loss(Z, Z),
  "autoencoder": autoencoder,
  "groups": groups,
  "classifier": classifier,
  "margin loss": lambda: losses.LogitMarginLoss()(ONES, TARGETS, where=MASK),
  "reduce": lambda: losses.reduce(ONES, weights=ONES, where=MASK),
  "pairwise": lambda: losses.pairwise(losses.LogitMarginLoss(), ONES, ONES),
  "ranking losses": lambda: (
    losses.sampled_softmax(ONES, Z),
    losses.cosine_contrastive(ONES, Z, margin=0.5, weight=1.0),
  ),
  "contrast": lambda: (
    losses.info_nce(Z, Z, Z, temperature=0.1, where=np.eye(6) == 0),
    losses.in_batch_info_nce(Z, Z, temperature=0.1, positive=np.arange(6)),
  ),
  "recommending": recommending,
  "ranking": lambda: (
    metrics.top_k(Z, 2),
    metrics.ranking(LABELS[:, None], LABELS[:, None], ks=(1,)),
    metrics.ranking_of_one(metrics.rank_among(ONES, Z)),
  ),
  "elbo": lambda: (losses.normal_kl(Z, Z), losses.Gaussian().log_prob(Z, Z)),
  "squared_error": lambda: metrics.squared_error(Z, Z, mask=MASK),
  "likelihood": lambda: metrics.negative_log_likelihood(Z, LABELS),
  "accuracy": lambda: metrics.accuracy(Z, LABELS),
  "perplexity": lambda: metrics.perplexity(ONES),
  "frechet": lambda: metrics.feature_sums(Z, reference=Z[0], mask=MASK),
  "inception score": lambda: metrics.inception_score(metrics.class_sums(Z)),
  "precision and recall": lambda: metrics.precision_recall(Z, Z + 1, k=2),
  "sound": lambda: (
    features.log_mel(np.ones((6, 99)), rate=8000),
    metrics.log_spectral_distance(np.ones((6, 99)), np.zeros((6, 99)), lengths=LABELS + 9),
  ),
  "rejection": lambda: generation.keep_best(generation.class_scores(Z, LABELS), None, fraction=0.5),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_warning(call):
  with jax.numpy_dtype_promotion("standard"):  # NumPy's dtypes are not ours to promote
    leaves = jax.tree.leaves(call())
  assert all(np.isfinite(x).all() for x in leaves)
