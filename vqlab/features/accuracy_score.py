"""Classification Accuracy Score (Ravuri and Vinyals 2019, arXiv 1905.10887).

A classifier is trained on samples and their classes alone, then tested on real images. What it gets
right is what samples taught it of the real thing: unlike FID, a class that the model drops or
blurs costs its share. The paper, and VQ-VAE-2 (arXiv 1906.00446) after it, trains a ResNet-50 on
ImageNet; the network here is an argument.

    score = classification_accuracy_score(key, samples, classes, real, real_classes,
                                          model=SmallClassifier(num_classes=10))
    score.top1

All of the data are arrays, and training is one compiled loop over them.
Shapes: N training examples, M test examples, S steps, B batch, Y classes, ... of an example.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from vqlab.metrics import Total, accuracy, mean
from vqlab.nn import checks
from vqlab.nn.varying import vary_like


class Fitted(NamedTuple):
  """A trained classifier."""

  params: Any  # of the model
  losses: jax.Array  # f32[S]  cross entropy of each batch, in nats


class AccuracyScore(NamedTuple):
  """Shares of the real images whose class was the best guess, or among the best five."""

  top1: jax.Array  # f32[]
  top5: jax.Array  # f32[]  of all Y where there are fewer than 5
  losses: jax.Array  # f32[S]  of training on the samples


def default_optimizer(num_steps: int) -> optax.GradientTransformation:
  """AdamW at 2e-3, warmed up over a tenth of the steps, then a cosine to 0.

  Fewer than ten steps have no warm-up, which begins at 0: a single one trains, too.
  """
  warmup = num_steps // 10
  schedule = optax.warmup_cosine_decay_schedule(0.0, 2e-3, warmup, max(num_steps, warmup + 1))
  return optax.adamw(schedule, weight_decay=1e-4)


def fit_classifier(
  key: jax.Array,
  model: nn.Module,
  images: jax.Array,
  labels: jax.Array,
  *,
  num_steps: int = 2000,
  batch_size: int = 128,
  optimizer: optax.GradientTransformation | None = None,
) -> Fitted:
  """Trains a classifier by cross entropy; every epoch sees each example once, in its own order.

  Pure: under `jit` with model, num_steps, batch_size and optimizer static (`fit_classifier` is
  compiled as one loop anyway). The result is a function of the key. Under `pmap` and `shard_map`
  each device trains a model of its own on its images.

  Args:
    model: `model.apply({"params": ...}, images, train=True, rngs={"dropout": key}) -> [B, Y]`, with
      no state but params: `SmallClassifier`, or `LinearClassifier` on features.
    images: [N, ...], as the model takes them; features [N, F] alike.
    labels: int[N], in [0, Y).
    num_steps: S; the last epoch ends where they do.
    batch_size: B; where N is not a multiple, each epoch leaves out its own few.
    optimizer: `default_optimizer(num_steps)` where None. The compiled loop is kept by it: make it
      once, a new one each call compiles anew.

  Raises:
    ValueError: there are no N labels, they are no integers, N is below 1, num_steps or batch_size
      is not positive, or a label is not in [0, Y) (as far as they are known: not under `jit`).
  """
  _check("fit_classifier", images, labels)
  if num_steps < 1 or batch_size < 1:
    raise ValueError(
      f"fit_classifier: num_steps and batch_size must be positive; found {num_steps}, {batch_size}"
    )
  # Before anything is trained: the loss of a label that is no class is NaN, or another class's.
  num_classes = _num_classes(model, lambda *x: model.init_with_output(*x)[0], key, images[:1])
  checks.integers_in_range("fit_classifier: labels", labels, num_classes)
  return _fit(
    key,
    images,
    labels,
    model=model,
    num_steps=num_steps,
    batch_size=min(batch_size, len(images)),
    optimizer=optimizer,
  )


@partial(jax.jit, static_argnames=("model", "num_steps", "batch_size", "optimizer"))
def _fit(
  key: jax.Array,
  images: jax.Array,
  labels: jax.Array,
  *,
  model: nn.Module,
  num_steps: int,
  batch_size: int,
  optimizer: optax.GradientTransformation | None,
) -> Fitted:
  # Made in here because a new one, being static, would compile the loop anew.
  optimizer = default_optimizer(num_steps) if optimizer is None else optimizer
  init_key, order_key, dropout_key = jax.random.split(key, 3)
  params = vary_like((key, images, labels), model.init(init_key, images[:1])["params"])
  n = images.shape[0]
  per_epoch = n // batch_size
  epochs = -(-num_steps // per_epoch)
  orders = jax.vmap(lambda k: jax.random.permutation(k, n))(jax.random.split(order_key, epochs))
  batches = orders[:, : per_epoch * batch_size].reshape(-1, batch_size)[:num_steps]

  def loss(params: Any, rows: jax.Array, key: jax.Array) -> jax.Array:
    logits = model.apply({"params": params}, images[rows], train=True, rngs={"dropout": key})
    wanted = labels[rows].astype(jnp.int32)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, wanted))

  def step(carry: tuple, inputs: tuple) -> tuple[tuple, jax.Array]:
    params, opt_state = carry
    rows, key = inputs
    value, grads = jax.value_and_grad(loss)(params, rows, key)
    with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
      updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), value

  keys = jax.random.split(dropout_key, num_steps)
  opt_state = vary_like(params, optimizer.init(params))
  (params, _), losses = lax.scan(step, (params, opt_state), (batches, keys))
  return Fitted(params, losses)


def classifier_accuracy(
  model: nn.Module,
  params: Any,
  images: jax.Array,
  labels: jax.Array,
  *,
  ks: tuple[int, ...] = (1, 5),
  batch_size: int = 256,
) -> tuple[Total, ...]:
  """`metrics.accuracy` for each k over all images, a batch at a time; the batch changes nothing.

  Args:
    model, params: as `fit_classifier` trained them.
    images: [M, ...]; labels: int[M], -1 counts for nothing.
    ks: each at least 1 and at most Y.
    batch_size: images a batch, at least 1.

  Raises:
    ValueError: there are no M labels, they are no integers, M or batch_size is below 1, a k is out
      of range, or a label is not in [-1, Y) (as far as they are known: not under `jit`).
  """
  _check("classifier_accuracy", images, labels)
  checks.whole_number("classifier_accuracy: batch_size", batch_size, least=1)
  num_classes = _num_classes(model, model.apply, {"params": params}, images[:1])
  checks.integers_in_range("classifier_accuracy: labels", labels, num_classes, least=-1)
  return _accuracy(model, params, images, labels, ks=tuple(ks), batch_size=batch_size)


@partial(jax.jit, static_argnames=("model", "ks", "batch_size"))
def _accuracy(
  model: nn.Module,
  params: Any,
  images: jax.Array,
  labels: jax.Array,
  *,
  ks: tuple[int, ...],
  batch_size: int,
) -> tuple[Total, ...]:
  m = images.shape[0]
  size = min(batch_size, m)
  chunks = -(-m // size)
  pad = lambda x, value: jnp.pad(
    x, [(0, chunks * size - m)] + [(0, 0)] * (x.ndim - 1), constant_values=value
  ).reshape(chunks, size, *x.shape[1:])

  def one(batch: tuple[jax.Array, jax.Array]) -> tuple[Total, ...]:
    logits = model.apply({"params": params}, batch[0])
    return tuple(accuracy(logits, batch[1], k=k) for k in ks)

  sums = lax.map(one, (pad(images, 0), pad(labels.astype(jnp.int32), -1)))
  return jax.tree.map(lambda x: jnp.sum(x, axis=0), sums)


def classification_accuracy_score(
  key: jax.Array,
  samples: jax.Array,
  sample_labels: jax.Array,
  images: jax.Array,
  labels: jax.Array,
  *,
  model: nn.Module,
  num_steps: int = 2000,
  batch_size: int = 128,
  optimizer: optax.GradientTransformation | None = None,
) -> AccuracyScore:
  """Trains `model` on samples, tests it on real images; to compare, also give it real ones first.

  Args:
    samples: [N, ...], and the classes they were drawn for, int[N], in [0, Y).
    images: [M, ...], real and held out, and their classes, int[M], in [0, Y); -1 counts for
      nothing.
    model, num_steps, batch_size, optimizer: see `fit_classifier`; the model has `num_classes`.

  Raises:
    ValueError: samples and images differ in shape or type, labels are not of their number or no
      integers, num_steps or batch_size is not positive, or a label is out of range (as far as they
      are known: not under `jit`). All before training.
  """
  if samples.shape[1:] != images.shape[1:] or samples.dtype != images.dtype:
    raise ValueError(
      f"classification_accuracy_score: samples and images must be alike but for their number; "
      f"found {samples.dtype}{list(samples.shape)} and {images.dtype}{list(images.shape)}"
    )
  _check("classification_accuracy_score", images, labels)
  labelled = "classification_accuracy_score: labels of images"
  checks.integers_in_range(labelled, labels, model.num_classes, least=-1)
  fitted = fit_classifier(
    key, model, samples, sample_labels,
    num_steps=num_steps, batch_size=batch_size, optimizer=optimizer,
  )  # fmt: skip
  ks = (1, min(5, model.num_classes))
  top1, top5 = classifier_accuracy(model, fitted.params, images, labels, ks=ks)
  return AccuracyScore(mean(top1), mean(top5), fitted.losses)


def _num_classes(model: nn.Module, logits: Callable[..., jax.Array], *args: Any) -> int:
  """Y, which most models tell; that of `logits(*args)` where one does not."""
  told = getattr(model, "num_classes", None)
  return jax.eval_shape(logits, *args).shape[-1] if told is None else told


def _check(name: str, images: jax.Array, labels: jax.Array) -> None:
  fits = labels.shape == images.shape[:1] and jnp.issubdtype(labels.dtype, jnp.integer)
  if images.ndim < 2 or not images.shape[0] or not fits:
    raise ValueError(
      f"{name}: images must be [N, ...] and labels int[N], N at least 1; "
      f"found {list(images.shape)} and {labels.dtype}{list(labels.shape)}"
    )
