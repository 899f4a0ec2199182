"""What content and style tell of the class, and how evidence accumulates: an ML-VAE's figures.

Groups are k held-out images of one label, disjoint: every image is in one group at most and a group
is one case. Were groups made of a whole batch by its labels, all images of a class would share one
content and the classifier would have the label from the accumulation itself.

    content_alone    each image's own content, k = 1 of the k                  (strategy 1)
    content          that of k images together, the product of their normals   (strategy 2)
    style_alone      each image's own style
    style            that of k images together: what k styles give away between them
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.data import Groups, batches_of, disjoint_groups
from vqlab import features
from vqlab.autoencoders import mlvae

_BATCH = 500
PROBES = {"linear": features.LinearClassifier, "mlp": features.MLPClassifier}
Encode = Callable[[dict, jax.Array], mlvae.Posterior]


def judge(
  stage: Any, params: dict, encode: Encode, train: Groups, held_out: Groups
) -> dict[str, float]:
  """Probes on held-out classes that training has, few-shot classification on those it has not."""
  posterior, labels = encode_all(params, encode, held_out)
  known = np.isin(labels, train.labels)
  counts = np.unique(labels, return_counts=True)[1]
  figures = {}
  for k in stage.accumulated:
    if k <= counts.min():
      content = _together(posterior.content, disjoint_groups(labels, k, 0))
      figures[f"content_variance@k={k}"] = float(np.exp(content.logvar).mean())
  if known.any() and stage.probe_steps:
    of_known = (jax.tree.map(lambda x: x[known], posterior), labels[known])
    figures |= probes(stage, encode_all(params, encode, train), of_known)
  if not known.all():
    figures |= _few_shot(stage, posterior, np.where(known, -1, labels), held_out)
  return figures


def encode_all(params: dict, encode: Encode, split: Groups) -> tuple[mlvae.Posterior, np.ndarray]:
  """What each image of a split tells, on the host, and the labels."""
  parts, labels = [], []
  for batch in batches_of(split, range(len(split)), _BATCH):
    mask = batch["mask"]
    part = jax.device_get(encode(params, batch["image"]))
    parts.append(jax.tree.map(lambda x, mask=mask: x[mask], part))
    labels.append(batch["label"][mask])
  return jax.tree.map(lambda *x: np.concatenate(x), *parts), np.concatenate(labels)


def _together(normal: mlvae.Normal, groups: np.ndarray) -> mlvae.Normal:
  """What groups int[G, k] of examples tell: [G, D]."""
  members = jax.tree.map(lambda x: x[groups.reshape(-1)], normal)
  ids = np.repeat(np.arange(len(groups), dtype=np.int32), groups.shape[1])
  return _accumulate(*members, ids, len(groups))


_accumulate = jax.jit(mlvae.accumulate, static_argnums=3)


def probes(
  stage: Any,
  train: tuple[mlvae.Posterior, np.ndarray],
  held_out: tuple[mlvae.Posterior, np.ndarray],
) -> dict[str, float]:
  """Accuracies of a linear and of an MLP probe, and what they bound of the information."""
  (posterior, labels), (test, test_labels) = train, held_out
  # Of sizes that every class has: at each k the same classes are told apart.
  counts = [np.unique(y, return_counts=True)[1].min() for y in (labels, test_labels)]
  ks = [k for k in stage.accumulated if k <= min(counts)]
  groups = {k: disjoint_groups(labels, k, 0) for k in ks}
  test_groups = {k: disjoint_groups(test_labels, k, 1) for k in ks}
  classes = int(labels.max()) + 1
  figures: dict[str, float] = {}
  for kind, classifier in PROBES.items():
    model = classifier(num_classes=classes)
    fit = lambda x, y, model=model: features.fit_probe(
      jax.random.key(0), jnp.asarray(x), jnp.asarray(y), model=model, num_steps=stage.probe_steps
    )
    score = lambda probe, x, y, model=model: features.score_probe(
      model, probe, jnp.asarray(x), jnp.asarray(y)
    )
    for name in ("content", "style"):
      normal, test_normal = getattr(posterior, name), getattr(test, name)
      alone = fit(normal.mu, labels)
      for k in ks:
        rows = test_groups[k].reshape(-1)
        of_each = score(alone, test_normal.mu[rows], test_labels[rows])
        figures[f"{name}_alone_{kind}@k={k}"] = float(of_each.accuracy)
      for k in ks:
        probe = alone if k == 1 else fit(_together(normal, groups[k]).mu, labels[groups[k][:, 0]])
        own = _together(test_normal, test_groups[k]).mu
        of_group = score(probe, own, test_labels[test_groups[k][:, 0]])
        figures[f"{name}_{kind}@k={k}"] = float(of_group.accuracy)
      of_all = score(alone, test_normal.mu, test_labels)
      figures[f"{name}_information_{kind}"] = float(of_all.information)
    known = figures[f"content_information_{kind}"] - figures[f"style_information_{kind}"]
    if of_all.entropy > 0:
      figures[f"information_gap_{kind}"] = known / float(of_all.entropy)
  return figures


def _few_shot(
  stage: Any, posterior: mlvae.Posterior, labels: np.ndarray, held_out: Groups
) -> dict[str, float]:
  """Classes told by a few images: nearest mean of contents, and of pixels. Labels of -1 are of
  none."""
  most = max(stage.shots)
  classes, counts = np.unique(labels[labels >= 0], return_counts=True)
  classes, counts = classes[counts > most], counts[counts > most]
  if len(classes) < 2:
    return {}
  rows = np.stack([np.flatnonzero(labels == label)[: counts.min()] for label in classes])
  options = {"ways": min(stage.ways, len(classes)), "num_episodes": stage.episodes}
  images = held_out.read(rows.reshape(-1), None)["image"].reshape(*rows.shape, -1) / np.float32(255)
  content = jax.tree.map(lambda x: jnp.asarray(x[rows]), posterior.content)
  least = jnp.min(content.logvar, axis=(0, 1))  # of each dimension: what counts is relative
  told = {
    "content": {"features": content.mu, "weights": jnp.exp(least - content.logvar)},
    "pixel": {"features": jnp.asarray(images)},
  }
  return {
    f"{name}_{options['ways']}way@shots={shots}": float(
      features.few_shot(jax.random.key(0), shots=shots, **of, **options).accuracy
    )
    for name, of in told.items()
    for shots in stage.shots
  }
