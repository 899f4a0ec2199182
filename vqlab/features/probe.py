"""What a representation tells of a class: probes trained on it, and classes told by few examples.

A probe is a classifier trained on features alone and tested on others of them. Its cross entropy
bounds from below what the features z know of the class y (Barber and Agakov 2003):

    I(y; z) >= H(y) - E[-log q(y | z)]

`few_shot` asks the same of classes that nothing was trained on: of several, each shown by a few
examples, the one whose mean is nearest is guessed (Snell et al. 2017, arXiv 1703.05175, without
the training).

Shapes: N training and M test examples, F features, C classes, P examples a class.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from vqlab.features.accuracy_score import fit_classifier
from vqlab.metrics import accuracy, mean
from vqlab.nn import checks
from vqlab.nn.dtypes import at_least_float32


class FittedProbe(NamedTuple):
  """A trained probe."""

  params: dict  # of the classifier
  center: jax.Array  # [F]  mean of the training features
  scale: jax.Array  # [F]  their standard deviation


class ProbeScore(NamedTuple):
  """How well a probe tells the classes of the examples it is asked for."""

  accuracy: jax.Array  # f32[]
  cross_entropy: jax.Array  # f32[]  nats
  entropy: jax.Array  # f32[]  H(y) in nats, of the labels' frequencies
  information: jax.Array  # f32[]  nats, max(0, entropy - cross_entropy): a lower bound of I(y; z)


class FewShot(NamedTuple):
  """Accuracy over episodes."""

  accuracy: jax.Array  # f32[]
  standard_error: jax.Array  # f32[]  of the mean over episodes


def fit_probe(
  key: jax.Array,
  features: jax.Array,
  labels: jax.Array,
  *,
  model: nn.Module,
  num_steps: int = 2000,
  batch_size: int = 256,
  learning_rate: float = 1e-2,
) -> FittedProbe:
  """Trains a classifier on features, standardized.

  Args:
    key: of the probe's parameters and of the order of examples.
    features: [N, F], and their classes, int[N].
    model: `LinearClassifier` or `MLPClassifier`, say; see `fit_classifier`.
    num_steps, batch_size, learning_rate: of Adam, whose rate falls to 0 along a cosine.

  Raises:
    ValueError: features are not [N, F], or see `fit_classifier`.
  """
  if features.ndim != 2:
    raise ValueError(f"fit_probe: features must be [N, F]; found {list(features.shape)}")
  features = features.astype(at_least_float32(features.dtype))  # whose squares would overflow
  center, scale = jnp.mean(features, axis=0), jnp.std(features, axis=0)
  # A feature that never changes tells nothing, whatever rounding makes of its deviation.
  scale = jnp.where(scale > 1e-5 * jnp.abs(center), scale, 1)
  fitted = fit_classifier(
    key, model, (features - center) / scale, labels,
    num_steps=num_steps, batch_size=batch_size, optimizer=_adam(learning_rate, num_steps),
  )  # fmt: skip
  return FittedProbe(fitted.params, center, scale)


def score_probe(
  model: nn.Module, probe: FittedProbe, features: jax.Array, labels: jax.Array
) -> ProbeScore:
  """Asks a probe for the classes of examples it was not trained on.

  Args:
    model: the classifier that `fit_probe` trained.
    features: [M, F], and their classes, int[M], in [0, C).

  Raises:
    ValueError: shapes do not agree, or a label is out of range (as far as they are known).
  """
  if features.shape[1:] != probe.center.shape or labels.shape != features.shape[:1]:
    raise ValueError(
      f"score_probe: features must be [M, {len(probe.center)}] and labels int[M]; "
      f"found {list(features.shape)} and {list(labels.shape)}"
    )
  checks.integers_in_range("score_probe: labels", labels, getattr(model, "num_classes", None))
  return _score(model, probe, features, labels)


@partial(jax.jit, static_argnames="model")
def _score(
  model: nn.Module, probe: FittedProbe, features: jax.Array, labels: jax.Array
) -> ProbeScore:
  labels, features = labels.astype(jnp.int32), features.astype(probe.center.dtype)
  logits = model.apply({"params": probe.params}, (features - probe.center) / probe.scale)
  nats = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
  counts = jnp.zeros(logits.shape[-1], logits.dtype).at[labels].add(1)
  entropy = jnp.sum(jax.scipy.special.entr(counts / len(labels)))
  right = mean(accuracy(logits, labels))
  return ProbeScore(right, nats, entropy, jnp.maximum(entropy - nats, 0))


@lru_cache
def _adam(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
  """One object for each pair: compiled training loops are kept by it."""
  return optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))


def few_shot(
  key: jax.Array,
  features: jax.Array,
  *,
  ways: int,
  shots: int,
  weights: jax.Array | None = None,
  num_episodes: int = 1000,
) -> FewShot:
  """Accuracy of the nearest class mean among `ways` classes of which `shots` examples are shown.

  An episode draws `ways` of the classes and `shots` examples of each, and assigns every other
  example of these classes to the nearest mean by Euclidean distance. Examples that are shown are
  never asked.

  Args:
    key: of what is drawn.
    features: [C, P, F], of every class as many examples.
    ways: classes an episode, 2 .. C.
    shots: examples shown of each, 1 .. P - 1.
    weights: [C, P, F], positive; means are weighted by them: precisions of normals make the mean
      of their product (`autoencoders.mlvae.accumulate`). None: plain means.

  Raises:
    ValueError: shapes do not agree, or `ways`, `shots` or `num_episodes` is out of range.
  """
  dtype = at_least_float32(features.dtype)
  features = features.astype(dtype)
  weights = jnp.ones_like(features) if weights is None else weights.astype(dtype)
  if features.ndim != 3 or features.shape != weights.shape:
    raise ValueError(
      "few_shot: features and weights must be [C, P, F]; "
      f"found {list(features.shape)} and {list(weights.shape)}"
    )
  checks.whole_number("few_shot: num_episodes", num_episodes, least=1)
  checks.whole_number("few_shot: ways", ways, least=2)
  checks.whole_number("few_shot: shots", shots, least=1)
  if ways > features.shape[0] or shots >= features.shape[1]:
    raise ValueError(
      f"few_shot: {ways} ways and {shots} shots of {features.shape[0]} classes with "
      f"{features.shape[1]} examples each; there must be as many classes, and an example more"
    )
  return _few_shot(key, features, weights, ways=ways, shots=shots, num_episodes=num_episodes)


@partial(jax.jit, static_argnames=("ways", "shots", "num_episodes"))
def _few_shot(
  key: jax.Array,
  features: jax.Array,
  weights: jax.Array,
  *,
  ways: int,
  shots: int,
  num_episodes: int,
) -> FewShot:
  classes, examples, _ = features.shape
  features -= jnp.mean(features, axis=(0, 1))  # what all share would drown the distances

  def episode(key: jax.Array) -> jax.Array:
    class_key, example_key = jax.random.split(key)
    chosen = jax.random.permutation(class_key, classes)[:ways, None]
    rows = jnp.tile(jnp.arange(examples), (ways, 1))
    order = jax.random.permutation(example_key, rows, axis=1, independent=True)
    shown, asked = order[:, :shots], order[:, shots:]
    weight = weights[chosen, shown]
    weight /= jnp.max(weight, axis=1, keepdims=True)  # so that sums do not overflow
    means = jnp.sum(weight * features[chosen, shown], axis=1) / jnp.sum(weight, axis=1)
    # |x - mean|^2 but for |x|^2, which is the same for all means.
    products = jnp.einsum("wpf,vf->wpv", features[chosen, asked], means)
    distance = jnp.sum(jnp.square(means), axis=-1) - 2 * products
    right = jnp.argmin(distance, axis=-1) == jnp.arange(ways)[:, None]
    return jnp.mean(right.astype(means.dtype))

  shares = lax.map(episode, jax.random.split(key, num_episodes))
  error = jnp.std(shares) / jnp.sqrt(jnp.asarray(num_episodes, shares.dtype))
  return FewShot(jnp.mean(shares), error)
